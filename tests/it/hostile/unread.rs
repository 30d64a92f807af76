//! Clients that ask for long histories and read nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::binary::{Sandbox, ServerProcess};
use crate::support::unread::{Protocol, requests};
use crate::support::wait::{wait_for, within};
use crate::support::workspaces::MINE;

const GREEDY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

const MIB: usize = 1 << 20;
/// The requests of a client that reads nothing.
const REQUESTS: u32 = 20;
/// The messages of the history, each of 40 KB: 16 MB for all the requests.
const MESSAGES: usize = 20;
const TEXT_BYTES: usize = 40_000;

/// A server process with a long history.
struct Target {
    server: ServerProcess,
    address: SocketAddr,
    key: String,
    /// The path of the history.
    history: String,
    _sandbox: Sandbox,
}

impl Target {
    async fn start(env: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::new();
        let env = [&[("REJOINDER_HTTP__H2C", "true")][..], env].concat();
        let server = sandbox.start_server_with_env(&env).await;
        let (key, _) = sandbox.apply_workspace("mine", MINE, &[]);
        let address = server.banner.lines().next().and_then(|line| line.rsplit("//").next()).unwrap();
        let address = address.trim().trim_end_matches('/').parse().unwrap();
        let mut conversation = None;
        for _ in 0..MESSAGES {
            let mut body = json!({ "sender_id": "u", "sender_type": "user", "auto_reply": false });
            body["text"] = "🦀".repeat(TEXT_BYTES / 4).into();
            if let Some(conversation) = &conversation {
                body["conversation_id"] = json!(conversation);
            }
            let sent = server.http.post("/v1/messages", &body).bearer(&key).send().await;
            assert_eq!(sent.status, 200, "{}", sent.text());
            conversation = sent.json()["data"]["conversation_id"].as_str().map(str::to_owned);
        }
        let history = format!("/v1/conversations/{}/messages?limit=200", conversation.unwrap());
        Self { server, address, key, history, _sandbox: sandbox }
    }

    async fn connect(&self, socket: TcpSocket, from: Ipv4Addr) -> TcpStream {
        socket.bind((from, 0).into()).unwrap();
        within("a connection", socket.connect(self.address)).await.unwrap()
    }

    /// The response to a request over a connection of its own.
    async fn get(&self, from: Ipv4Addr, path: &str) -> String {
        let mut stream = self.connect(TcpSocket::new_v4().unwrap(), from).await;
        let exchange = async {
            let key = &self.key;
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        within("a response", exchange).await
    }

    /// Sends requests for the history. Nothing is read from the connection.
    async fn flood(&self, protocol: Protocol, count: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        // The least that the system buffers for a client.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = self.connect(socket, GREEDY).await;
        let bytes = requests(protocol, &self.history, &self.key, count);
        stream.write_all(&bytes).await.unwrap();
        stream
    }

    /// The bytes that clients have not read, as the metrics have them.
    async fn unread_bytes(&self) -> usize {
        let metrics = self.get(OPERATOR, "/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix("rejoinder_http_unsent_bytes "));
        value.map_or(0, |value| value.parse().unwrap())
    }

    async fn wait_until_something_is_unread(&self) {
        wait_for("unread bytes", async || (self.unread_bytes().await > 0).then_some(())).await;
    }
}

async fn assert_bounded_and_dropped(protocol: Protocol) {
    // 8 MiB for an address, 2 MiB for a connection.
    let env = [("REJOINDER_HTTP__MAX_UNSENT", "64MiB"), ("REJOINDER_HTTP__WRITE_TIMEOUT", "1s")];
    let target = Target::start(&env).await;

    let greedy = target.flood(protocol, REQUESTS).await;
    target.wait_until_something_is_unread().await;
    let honest = target.get(HONEST, &target.history).await;
    let most = AtomicUsize::new(0);
    let is_dropped = async || {
        let unread = target.unread_bytes().await;
        most.fetch_max(unread, Ordering::Relaxed);
        (unread == 0).then_some(())
    };
    wait_for("the unread responses to be dropped", is_dropped).await;

    assert!(honest.starts_with("HTTP/1.1 200 ") && honest.len() > MESSAGES * TEXT_BYTES);
    let most = most.into_inner();
    assert!(most <= 8 * MIB, "{protocol:?}: {most}");
    drop(greedy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_not_read_are_bounded_and_dropped_in_time_over_http_1() {
    assert_bounded_and_dropped(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_not_read_are_bounded_and_dropped_in_time_over_http_2() {
    assert_bounded_and_dropped(Protocol::Http2 { window: 0 }).await;
}

/// With one byte of window the server may hand a whole frame to its HTTP/2 library.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_one_byte_is_not_read_either() {
    assert_bounded_and_dropped(Protocol::Http2 { window: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_open_windows_that_does_not_read_its_socket_is_bounded_too() {
    assert_bounded_and_dropped(Protocol::Http2 { window: 0x7fff_ffff }).await;
}

async fn assert_stops_soon(protocol: Protocol) {
    let target = Target::start(&[]).await;
    let greedy = target.flood(protocol, REQUESTS).await;
    target.wait_until_something_is_unread().await;

    let stopped = Instant::now();
    let status = target.server.terminate().await;

    assert!(status.success(), "{status}");
    assert!(stopped.elapsed() < Duration::from_secs(10), "{protocol:?}, grace 25 s: {:?}", stopped.elapsed());
    drop(greedy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_does_not_delay_a_stop_over_http_1() {
    assert_stops_soon(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_does_not_delay_a_stop_over_http_2() {
    assert_stops_soon(Protocol::Http2 { window: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_socket_does_not_delay_a_stop_over_http_2() {
    assert_stops_soon(Protocol::Http2 { window: 0x7fff_ffff }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_a_large_response_is_refused_and_a_small_one_is_sent() {
    // Less than two histories.
    let target = Target::start(&[("REJOINDER_HTTP__MAX_UNSENT", "1MiB")]).await;
    let greedy = target.flood(Protocol::Http2 { window: 0 }, 1).await;
    target.wait_until_something_is_unread().await;

    let by_address = target.get(GREEDY, &target.history).await;
    let in_total = target.get(HONEST, &target.history).await;
    let small = target.get(GREEDY, "/healthz").await;
    let metrics = target.get(OPERATOR, "/metrics").await;

    for refused in [by_address, in_total] {
        assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 1\r\n"), "{refused}");
        assert!(refused.ends_with(r#"{"status":"error","message":"The server is overloaded","data":null}"#));
    }
    assert!(small.starts_with("HTTP/1.1 200 "), "{small}");
    for limit in ["address", "total"] {
        let line = format!("rejoinder_http_responses_refused_total{{limit=\"{limit}\"}} ");
        let count = metrics.lines().find_map(|other| other.strip_prefix(&line)).unwrap();
        assert!(count.parse::<u64>().unwrap() > 0, "{limit}: {count}");
    }
    drop(greedy);
}
