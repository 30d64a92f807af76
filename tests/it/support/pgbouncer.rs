//! PgBouncer in transaction mode, in front of a test's database.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;
use url::Url;

use super::wait::wait_for;

/// `scripts/setup` puts it there.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/pgbouncer/pgbouncer");

pub struct PgBouncer {
    process: Child,
    url: String,
    /// Of its settings.
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts it with few sessions of the server, and further settings.
    pub async fn start(database: &str, settings: &str) -> Self {
        assert!(Path::new(PROGRAM).exists(), "there is no {PROGRAM}; scripts/setup installs it");
        let mut url = Url::parse(database).expect("a URL");
        let server = url.port().expect("a port");
        let spare = TcpListener::bind("127.0.0.1:0").expect("a spare port");
        let port = spare.local_addr().expect("its address").port();
        drop(spare);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 6\nmax_client_conn = 200\nmax_prepared_statements = 200\n\
             ignore_startup_parameters = extra_float_digits\n{settings}\n"
        );
        std::fs::write(&file, text).expect("a file in a folder of our own");
        // It refuses to run as root. The folder is of the user that runs the tests, and the settings are read before it changes.
        let is_root = std::fs::metadata(folder.path()).expect("its metadata").uid() == 0;
        let user: &[&str] = if is_root { &["--user", "postgres"] } else { &[] };
        let process =
            Command::new(PROGRAM).arg("--quiet").args(user).arg(&file).spawn().expect("PgBouncer starts");
        url.set_port(Some(port)).expect("a URL with a host");
        let bouncer = Self { process, url: url.into(), _folder: folder };
        let ready = async || PgConnection::connect(&bouncer.url).await.ok();
        wait_for("PgBouncer", ready).await.close().await.expect("the connection closes");
        bouncer
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
