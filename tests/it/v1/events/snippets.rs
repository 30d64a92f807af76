//! Runs the code of `docs/events.md` against a server.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;

use crate::support::server::TestServer;
use crate::support::store;
use crate::support::wait::wait_for;

const PAGE: &str = include_str!("../../../../docs/events.md");
const EXAMPLE: &str = include_str!("../../../../examples/follow_events.rs");

/// The page's code blocks in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    let rests = PAGE.split(&*opening).skip(1);
    rests.map(|rest| rest.split_once("```").expect("a block ends").0).collect()
}

/// A running program that follows the events, killed when this is dropped.
struct Snippet {
    process: Child,
    lines: Receiver<String>,
    _folder: TempDir,
}

impl Snippet {
    fn start(server: &TestServer, program: &str, file: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), text).unwrap();
        let mut command = Command::new(program);
        command.arg(file).current_dir(folder.path());
        command.env("URL", server.url()).env("KEY", &server.keys.read_only);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the language is installed");
        let output = process.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, lines, _folder: folder }
    }

    async fn line(&self) -> String {
        wait_for("a line of the snippet", async || self.lines.try_recv().ok()).await
    }
}

impl Drop for Snippet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn follows(program: &str, file: &str, text: &str) {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let page = server.get("/v1/events?limit=200").await.json();
    let snippet = Snippet::start(&server, program, file, text);
    for event in page["data"]["items"].as_array().unwrap() {
        let line = format!("{} {}", event["type"].as_str().unwrap(), event["id"].as_str().unwrap());
        assert_eq!(snippet.line().await, line);
    }

    server.store_message(None, "Hi").await;

    assert!(snippet.line().await.starts_with("conversation.created evt_"));
    assert!(snippet.line().await.starts_with("message.created evt_"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_snippet_polls_events() {
    follows("python3", "follow.py", blocks("python")[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_snippet_streams_events() {
    follows("node", "follow.mjs", blocks("js")[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_curl_snippets_return_events() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    server.store_message(None, "Hi").await;
    let shell = blocks("sh");

    let page = Snippet::start(&server, "bash", "page.sh", shell[1]).line().await;
    let stream = Snippet::start(&server, "bash", "stream.sh", &format!("exec {}", shell[2]));

    assert!(page.contains(r#""type":"message.created""#), "{page}");
    let mut line = stream.line().await;
    while !line.starts_with("data: ") {
        line = stream.line().await;
    }
    assert!(line.contains(r#""text":"Hi""#), "{line}");
}

/// Cargo builds the example with the tests. This test compares it with the page.
#[test]
fn the_rust_snippet_matches_the_example() {
    let (_, code) = EXAMPLE.split_once("// docs/events.md: from here\n").unwrap();

    assert_eq!(blocks("rust"), [code]);
}
