//! The support code of the tests: databases, servers, fakes over real HTTP, clients and a browser.

pub mod binary;
pub mod browser;
pub mod calendar;
pub mod calls;
pub mod cleanup;
pub mod commit_gate;
pub mod db;
pub mod described;
pub mod document_extractor;
pub mod fake_embeddings;
pub mod fake_model;
pub mod fake_tool;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod pdf;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod radicale;
pub mod receiver;
pub mod replication;
pub mod router_server;
pub mod script;
pub mod seed;
pub mod server;
pub mod sqlite;
pub mod sse;
pub mod store;
pub mod unread;
pub mod wait;
pub mod workspaces;
pub mod writer_process;

use std::path::{Path, PathBuf};
use std::sync::Once;

/// Installs the TLS provider once, as `main` does. Without it, building a client panics.
pub fn install_tls_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Fails if the server's own client has installed it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A file or folder of the third-party programs that `scripts/setup` installs.
pub fn installed(path: &str) -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(path);
    assert!(found.exists(), "{} is missing: scripts/setup installs it", found.display());
    found
}
