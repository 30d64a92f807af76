//! The MCP server of `server.py`, as a child process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

/// The longest time in which Python loads the SDK on a busy machine.
const START: Duration = Duration::from_secs(90);

/// A running server, killed when this is dropped.
pub struct McpServer {
    process: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl McpServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts the server with these environment variables (`PORT`, `JSON`, `TOKEN`, `EXTRA`).
    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/peers/mcp/bin/python");
        assert!(python.exists(), "{} is missing: scripts/setup installs it", python.display());
        let mut command = Command::new(&python);
        command.arg(root.join("tests/it/mcp/server.py")).envs(env.iter().copied());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (listens, port) = oneshot::channel();
        let log = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut listens = Some(listens);
            for line in output.lines().map_while(Result::ok) {
                match (line.strip_prefix("listening on "), listens.take()) {
                    (Some(port), Some(listens)) => drop(listens.send(port.parse().unwrap())),
                    (_, still) => {
                        listens = still;
                        log.lock().unwrap().push(line);
                    }
                }
            }
        });
        let port = tokio::time::timeout(START, port).await.expect("the server prints its address").unwrap();
        Self { process, port, lines }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// The requests so far: the method and the session, or `-`.
    pub fn requests(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The ids of the sessions that were used.
    pub fn sessions(&self) -> Vec<String> {
        let mut sessions: Vec<_> =
            self.requests().iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
        sessions.retain(|session| session != "-");
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Kills it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Fails only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.end();
    }
}
