//! The one way out towards a URL that a tenant chose: tools, webhooks, imports.
//!
//! A request leaves only for a public address, or for a host that the
//! configuration lets through by name. See `target` for what is decided on the
//! URL's text and `resolver` for what is decided on a name's addresses.

mod address;
mod allow;
mod client;
mod error;
mod resolver;
mod streaming;
mod target;

pub use allow::{AllowHosts, InvalidAllowHost};
pub use client::{GuardedClient, OutboundRequest, OutboundResponse};
pub use error::{OutboundError, UrlError};
pub use streaming::StreamingResponse;
pub use target::check_url;

#[cfg(test)]
mod tests;

/// Makes ring the process's TLS provider. Safe to call any number of times;
/// the first provider installed stays.
pub fn install_crypto_provider() {
    let already_installed = rustls::crypto::ring::default_provider().install_default().is_err();
    if already_installed {
        tracing::trace!("a TLS provider was installed before");
    }
}
