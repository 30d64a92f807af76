//! The program itself, as a child process: a server in a folder of its own, and the commands beside it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use super::http::Http;
use super::wait::wait_for;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rejoinder");

/// Of what a server prints that has the demo.
const LAST_LINE: &str = "Hello from curl!";

/// A folder in which the program finds nothing but what it puts there itself.
pub struct Sandbox(TempDir);

impl Sandbox {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command of the program, with an environment of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.path()).env_clear().env("REJOINDER_LISTEN", "127.0.0.1:0");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// Starts a server, and waits until it has said all that it says at its start.
    pub async fn start_server(&self) -> ServerProcess {
        self.start_server_with_env(&[]).await
    }

    /// The same with more variables in its environment.
    pub async fn start_server_with_env(&self, env: &[(&str, &str)]) -> ServerProcess {
        self.start_server_with(|command| command.envs(env.iter().copied()).stderr(Stdio::null())).await
    }

    /// The same of a server whose command is changed first.
    pub async fn start_server_with(
        &self,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> ServerProcess {
        let mut command = self.command(&[]);
        change(&mut command).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let output = process.stdout.take().expect("its output is piped");
        let (lines, output_lines) = std::sync::mpsc::channel();
        // Reads on to the end, for a server that writes to a closed pipe may fail.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut banner = String::new();
        wait_for("the last line of the banner", || {
            banner.extend(output_lines.try_iter().map(|line| line + "\n"));
            std::future::ready(banner.contains(LAST_LINE).then_some(()))
        })
        .await;
        let address = banner.lines().next().and_then(|line| line.rsplit(' ').next()).expect("its address");
        let http = Http::new(address);
        let running = ServerProcess { process, banner, http };
        let ready = async || (running.http.get("/readyz").send().await.status == 200).then_some(());
        wait_for("the server to be ready", ready).await;
        running
    }
}

/// What a command said, and how it ended.
pub struct ProcessOutput {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl From<Output> for ProcessOutput {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A server that runs; killed when this is dropped.
pub struct ServerProcess {
    process: Child,
    /// What it printed at its start.
    pub banner: String,
    pub http: Http,
}

impl ServerProcess {
    /// Sends SIGTERM, and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill is there");
        assert!(sent.success());
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
        // Fails only where the process has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
