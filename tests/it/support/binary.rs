//! The program as a child process: servers and commands in a temporary folder.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Http;
use super::wait::wait_for;

/// The path of the program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rejoinder");

/// A temporary folder in which the program runs, with an empty environment.
pub struct Sandbox(TempDir);

impl Sandbox {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command of the program, with an empty environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.path()).env_clear().env("REJOINDER_LISTEN", "127.0.0.1:0");
        command
    }

    /// Runs a command, and waits for its end.
    pub fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// Starts a server, and waits until it has printed its banner and is ready.
    pub async fn start_server(&self) -> ServerProcess {
        self.start_server_with_env(&[]).await
    }

    /// [`Self::start_server`] with these environment variables.
    pub async fn start_server_with_env(&self, env: &[(&str, &str)]) -> ServerProcess {
        self.start_server_with(|command| command.envs(env.iter().copied()).stderr(Stdio::null())).await
    }

    /// [`Self::start_server`] with a changed command.
    pub async fn start_server_with(
        &self,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> ServerProcess {
        let mut command = self.command(&[]);
        change(&mut command).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let mut output = process.stdout.take().expect("its output is piped");
        let (sender, banners) = std::sync::mpsc::channel();
        // Reads to the end, because a server that writes to a closed pipe may fail.
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(bytes @ 1..) = output.read(&mut piece) {
                let _ = sender.send(String::from_utf8_lossy(&piece[..bytes]).into_owned());
            }
        });
        // The banner is one write, which a pipe does not divide if it has at most 4 KiB.
        let banner = wait_for("the banner", || std::future::ready(banners.try_recv().ok())).await;
        let address = banner.lines().next().and_then(|line| line.rsplit(' ').next()).expect("its address");
        let http = Http::new(address);
        let server = ServerProcess { process, banner, http };
        let ready = async || (server.http.get("/readyz").send().await.status == 200).then_some(());
        wait_for("the server to be ready", ready).await;
        server
    }

    /// Starts a server that writes its logs of level `trace` to a file. Returns the file's path too.
    pub async fn start_server_with_trace_log(&self, env: &[(&str, &str)]) -> (ServerProcess, PathBuf) {
        let path = self.path().join("log");
        let log = File::create(&path).expect("a file in a folder of our own");
        let server = self.start_server_with(|command| {
            command.env("RUST_LOG", "trace").env("REJOINDER_LOG__FORMAT", "json");
            command.envs(env.iter().copied()).stderr(Stdio::from(log))
        });
        (server.await, path)
    }

    /// Applies a workspace file, and creates an API key of the workspace. Returns the key and the output of `apply`.
    pub fn apply_workspace(&self, slug: &str, text: &str, env: &[(&str, &str)]) -> (String, ProcessOutput) {
        std::fs::write(self.path().join("workspace.toml"), text).expect("a file in a folder of our own");
        let mut apply = self.command(&["apply", "workspace.toml"]);
        let applied = apply.envs(env.iter().copied()).output().expect("the program starts");
        let applied = ProcessOutput::from(applied);
        assert!(applied.status.success(), "{}", applied.stderr);
        let key = self.run(&["keys", "create", "--workspace", slug, "--name", "test", "--json"]);
        let key: Value = serde_json::from_str(&key.stdout).expect("JSON");
        (key["secret"].as_str().expect("a key").to_owned(), applied)
    }
}

/// The exit status and output of a command.
pub struct ProcessOutput {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for ProcessOutput {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A running server, killed when this is dropped.
pub struct ServerProcess {
    process: Child,
    /// The text that it printed at its start.
    pub banner: String,
    pub http: Http,
}

impl ServerProcess {
    /// Sends messages through the platform API, and waits for a reply to each.
    pub async fn exchange_messages(&self, key: &str, count: usize) {
        for _ in 0..count {
            let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Look it up" });
            let sent = self.http.post("/v1/messages", &body).bearer(key).send().await;
            assert_eq!(sent.status, 200, "{}", sent.text());
        }
        let replied = async || {
            let events = self.http.get("/v1/events?types=message.created&limit=200").bearer(key).send().await;
            let items = events.json()["data"]["items"].as_array().expect("a list").clone();
            let replies = items.iter().filter(|event| event["data"]["message"]["sender_type"] == "assistant");
            (replies.count() == count).then_some(())
        };
        wait_for("all replies", replied).await;
    }

    /// Sends SIGTERM, and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        let id = self.process.id().to_string();
        let signalled = Command::new("kill").args(["-TERM", &id]).status().expect("kill is there");
        assert!(signalled.success());
        let process = &mut self.process;
        let mut ended = None;
        wait_for("the server's end", || {
            ended = process.try_wait().expect("the process can be asked");
            std::future::ready(ended)
        })
        .await
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
