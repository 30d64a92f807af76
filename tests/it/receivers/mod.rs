//! Runs the receivers of `docs/webhooks.md` against the real server.

mod rust;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::db::TestDb;
use crate::support::http::Http;
use crate::support::installed;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::{wait_for, within};

const PAGE: &str = include_str!("../../../docs/webhooks.md");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The page's only listing in a language.
fn listing(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let (_, rest) = PAGE.split_once(&fence).expect("the page has the listing");
    rest.split_once("```").expect("the listing ends").0
}

/// A running receiver, killed when this is dropped.
struct ReceiverProcess {
    process: Child,
    output: mpsc::UnboundedReceiver<String>,
    url: String,
}

impl ReceiverProcess {
    async fn start(program: PathBuf, script: &Path) -> Self {
        let mut command = Command::new(&program);
        command.arg(script).env("WEBHOOK_SECRET", SECRET).env("PORT", "0").stdout(Stdio::piped());
        let process = command.spawn();
        let mut process =
            process.unwrap_or_else(|fault| panic!("{} cannot be run: {fault}", program.display()));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, output) = mpsc::unbounded_channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut running = Self { process, output, url: String::new() };
        let line = running.line().await;
        let port = line.strip_prefix("listening on ").expect("the receiver prints its address");
        running.url = format!("http://127.0.0.1:{port}");
        running
    }

    async fn line(&mut self) -> String {
        within("the receiver's line", self.output.recv()).await.expect("the receiver runs")
    }
}

impl Drop for ReceiverProcess {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn server(db: &TestDb) -> TestServer {
    // A receiver refuses old timestamps.
    let setup = Setup::default().system_clock().env("REJOINDER_OUTBOUND__ALLOW_HOSTS", "127.0.0.1");
    setup.start(db).await
}

/// Sends a test event, which the receiver must accept, and returns the event's id.
async fn test(server: &TestServer, url: &str) -> String {
    let post = |path: &str| server.request("POST", path).bearer(&server.keys.full);
    let endpoint = json!({"url": url, "secret": SECRET});
    let created = post("/v1/webhook_endpoints").json(&endpoint).send().await.json();
    let path = format!("/v1/webhook_endpoints/{}", created["data"]["id"].as_str().unwrap());
    let sent = post(&format!("{path}/test")).send().await.json();
    let delivery = format!("{path}/deliveries/{}", sent["data"]["id"].as_str().unwrap());
    let delivered = async || {
        let delivery_body = server.get(&delivery).await.json()["data"].clone();
        let first = delivery_body["attempts"].get(0)?;
        assert_eq!(first["status"], 204, "{delivery_body}");
        (delivery_body["state"] == "delivered").then_some(())
    };
    wait_for("the test to be delivered", delivered).await;
    sent["data"]["event_id"].as_str().unwrap().to_owned()
}

/// A signature of another secret, and headers that are no signatures.
const FORGED: [&str; 4] = ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", "v1", "v1,a", "v1,a,b"];

/// Sends a request with each of [`FORGED`], which the receiver must refuse.
async fn refuses_forgeries(url: &str) {
    // A receiver looks at the signature only if the timestamp is recent.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    for signature in FORGED {
        let request = Http::new(url).post("/hooks", &json!({"id": "evt_1", "type": "message.created"}));
        let request = request.header("webhook-id", "evt_1").header("webhook-timestamp", &now);
        let answer = request.header("webhook-signature", signature).send().await;
        assert_eq!(answer.status, 401, "{signature}");
    }
}

async fn is_good(program: PathBuf, script: &Path) {
    let db = store::sqlite().await;
    let server = server(&db).await;
    let mut receiver = ReceiverProcess::start(program, script).await;

    refuses_forgeries(&receiver.url).await;
    let event = test(&server, &format!("{}/hooks", receiver.url)).await;

    assert_eq!(receiver.line().await, format!("webhook_endpoint.test {event}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_receiver_accepts_only_signed_webhooks() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("receiver.py");
    std::fs::write(&script, listing("python")).unwrap();

    is_good(installed("webhooks/bin/python"), &script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_receiver_accepts_only_signed_webhooks() {
    // Node searches for packages beside the script.
    let folder = tempfile::tempdir_in(installed("node")).unwrap();
    let script = folder.path().join("receiver.mjs");
    std::fs::write(&script, listing("javascript")).unwrap();

    is_good("node".into(), &script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_receiver_accepts_only_signed_webhooks() {
    assert!(include_str!("rust.rs").ends_with(listing("rust")), "the page contains the tested receiver");
    let db = store::sqlite().await;
    let server = server(&db).await;
    let (events, mut received) = mpsc::channel(8);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = rust::receiver(SECRET, events).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    refuses_forgeries(&url).await;
    let event = test(&server, &format!("{url}/hooks")).await;

    assert_eq!(received.recv().await.unwrap()["id"], event);
}
