//! A private certificate authority (`SSL_CERT_FILE`). The files in `tls/` are of this test alone.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::support::binary::{ProcessOutput, Sandbox};

const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

/// A server with a certificate of the private authority. It answers every request with an empty object.
struct TlsServer {
    port: u16,
    /// Handshakes that clients completed.
    trusted: Arc<AtomicUsize>,
}

impl TlsServer {
    fn start() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let config =
            versions.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let trusted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&trusted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tls = Stream::new(&mut connection, &mut stream);
                let mut request = [0; 4096];
                if matches!(tls.read(&mut request), Ok(1..)) {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = tls.write_all(
                        b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\
                          connection: close\r\n\r\n{}",
                    );
                }
            }
        });
        Self { port, trusted }
    }

    /// How many requests the program sends with these arguments, and its output.
    fn trusted_by(&self, sandbox: &Sandbox, arguments: &[&str], authority: Option<&Path>) -> (usize, String) {
        let before = self.trusted.load(Ordering::SeqCst);
        let mut command = sandbox.command(arguments);
        let base_url = format!("https://localhost:{}/v1", self.port);
        command.env("OPENAI_BASE_URL", base_url).env("OPENAI_MODEL", "m");
        command.env("REJOINDER_OUTBOUND__ALLOW_HOSTS", format!("localhost:{}", self.port));
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority);
        }
        let ended = ProcessOutput::from(command.output().unwrap());
        let after = self.trusted.load(Ordering::SeqCst);
        (after - before, ended.stdout + &ended.stderr)
    }
}

#[test]
fn models_and_tools_trust_a_private_authority_that_is_named() {
    let server = TlsServer::start();
    let sandbox = Sandbox::new();
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/startup/tls/ca.pem");
    let workspace = format!(
        "[workspace]\nslug = \"a\"\nname = \"A\"\n\n[[tools]]\nslug = \"crm\"\nkind = \"mcp\"\nurl = \"https://localhost:{}/mcp\"\n",
        server.port
    );
    std::fs::write(sandbox.path().join("w.toml"), workspace).unwrap();
    assert!(sandbox.run(&["migrate"]).status.success());
    let apply = ["apply", "w.toml", "--dry-run"];

    let mut missing = sandbox.command(&["check"]);
    let missing = ProcessOutput::from(missing.env("SSL_CERT_FILE", "/no/such.pem").output().unwrap());
    assert!(missing.stdout.contains("SSL_CERT_FILE: cannot read /no/such.pem"), "{}", missing.stdout);
    for arguments in [&["check"][..], &apply] {
        let (distrusted, output) = server.trusted_by(&sandbox, arguments, None);
        assert_eq!(distrusted, 0, "{output}");
        let (trusted, output) = server.trusted_by(&sandbox, arguments, Some(&authority));
        assert!(trusted > 0, "{output}");
    }
}
