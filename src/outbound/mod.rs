//! The HTTP client for every URL that a tenant chose: tools, webhooks, imports.
//!
//! It sends requests to public addresses and to hosts that the configuration allows by name. `target` checks the
//! text of the URL, `resolver` the addresses of a name.

mod address;
mod client;
mod error;
mod resolver;
mod streaming;
mod target;

pub use crate::domain::allow_hosts::AllowHosts;
pub use client::{GuardedClient, OutboundRequest, OutboundResponse};
pub use error::{OutboundError, UrlError};
pub use streaming::StreamingResponse;
pub use target::check_url;

#[cfg(test)]
mod tests;

/// Installs ring as the TLS provider of the process. Later calls change nothing.
pub fn install_crypto_provider() {
    let already_installed = rustls::crypto::ring::default_provider().install_default().is_err();
    if already_installed {
        tracing::trace!("a TLS provider was installed before");
    }
}
