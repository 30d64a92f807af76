//! What the tests stand on: a database each, fakes on real HTTP, a client that keeps the bytes, a browser.

pub mod binary;
pub mod browser;
pub mod calendar;
pub mod calls;
pub mod cleanup;
pub mod db;
pub mod document_extractor;
pub mod fake_embeddings;
pub mod fake_model;
pub mod fake_tool;
pub mod http;
pub mod pdf;
pub mod postgres;
pub mod proxy;
pub mod radicale;
pub mod receiver;
pub mod router_server;
pub mod script;
pub mod seed;
pub mod server;
pub mod sqlite;
pub mod sse;
pub mod store;
pub mod wait;
pub mod workspaces;
pub mod writer_process;

use std::sync::Once;

/// Installs the TLS provider, once, as `main` does: a client built without one panics.
pub fn install_tls_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // A client of the server's own, made before, has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
