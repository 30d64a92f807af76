//! A response that is sent before the request's body has been read reaches the client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::http::http2_client;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::{wait_for, within};

/// More bytes than the sockets' buffers and than any route accepts.
const LARGE: usize = 20 * 1024 * 1024;
/// Fewer bytes than the server discards to keep a connection usable.
const SMALL: usize = 200 * 1024;

/// A connection whose client sends and reads in any order.
struct Client(TcpStream);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the server accepts"))
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("the server to read", self.0.write_all(bytes.as_ref()))
            .await
            .expect("the server continues to read");
    }

    /// Reads until the server closes its side. Panics if the connection is reset.
    async fn rest(&mut self) -> String {
        let mut answer = String::new();
        within("the end", self.0.read_to_string(&mut answer)).await.expect("no reset");
        answer
    }

    /// Reads one response that has a `content-length`.
    async fn answer(&mut self) -> String {
        let mut answer = String::new();
        let mut length = usize::MAX;
        while answer.len() < length {
            let byte = within("an answer", self.0.read_u8()).await.expect("the response is complete");
            answer.push(char::from(byte));
            if answer.ends_with("\r\n\r\n") && length == usize::MAX {
                let (_, declared) = answer.split_once("content-length: ").expect("its length is declared");
                let declared = declared.lines().next().and_then(|line| line.parse::<usize>().ok());
                length = answer.len() + declared.expect("a number");
            }
        }
        answer
    }
}

fn head(request: &str, headers: &str) -> String {
    format!("{request} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n")
}

fn length(bytes: usize) -> String {
    format!("content-length: {bytes}\r\n")
}

/// One chunk and the end of a chunked body.
fn chunks(bytes: usize) -> String {
    format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes))
}

/// The response to a client that sends everything before it reads.
async fn exchange(address: SocketAddr, head: &str, body: &str) -> String {
    let mut client = Client::connect(address).await;
    client.send(head).await;
    client.send(body).await;
    client.rest().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_everything_first_gets_the_answer() {
    let db = store::sqlite().await;
    let setup = Setup::default().with_limits().env("REJOINDER_LIMITS__NEW_CONVERSATIONS_PER_ADDRESS", "1/h");
    let server = setup.start(&db).await;
    let uuid = server.create_conversation().await;
    let key = format!("authorization: Bearer {}\r\n", server.keys.full);
    let base = server.request("POST", "/v1/knowledge_bases").bearer(&server.keys.full);
    let base = base.raw_json(r#"{"slug": "base", "name": "Base"}"#).send().await;
    assert_eq!(base.status, 200, "{}", base.text());
    let base = base.json()["data"]["id"].as_str().unwrap().to_owned();
    let file = format!("PUT /v1/knowledge_bases/{base}/documents/file");

    let plain = "x".repeat(LARGE);
    let in_chunks = chunks(LARGE);
    for (request, key, status) in [
        (&*file, &*key, 413),
        ("POST /v1/messages", &key, 413),
        (&format!("POST /api/conversations/{uuid}/messages"), "", 413),
        ("POST /v1/messages", "", 401),
        ("POST /v1/nothing", &key, 404),
        ("POST /nothing", "", 404),
        ("DELETE /v1/messages", &key, 405),
        ("POST /api/conversations", "", 429),
        ("GET /healthz", "", 200),
    ] {
        let declared = head(request, &format!("{key}{}", length(LARGE)));
        let declared = exchange(server.address(), &declared, &plain).await;
        let chunked = format!("{key}transfer-encoding: chunked\r\nconnection: close\r\n");
        let chunked = exchange(server.address(), &head(request, &chunked), &in_chunks).await;

        let expected = format!("HTTP/1.1 {status} ");
        assert!(declared.starts_with(&expected), "{request}: {declared}");
        assert!(declared.contains("\r\nconnection: close\r\n"), "{request}: {declared}");
        assert!(chunked.starts_with(&expected), "{request}: {chunked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_or_malformed_is_answered() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;

    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(LARGE));
    let large = exchange(server.address(), &large, "").await;
    let malformed = exchange(server.address(), "GET / HTTP/1.1\r\n:\r\n\r\n", &"x".repeat(LARGE)).await;

    assert!(large.starts_with("HTTP/1.1 431 "), "{large}");
    assert!(malformed.starts_with("HTTP/1.1 400 "), "{malformed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_first_is_refused_without_being_asked_for_the_body() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let key = format!("authorization: Bearer {}\r\n", server.keys.full);

    for (request, key, status) in
        [("POST /v1/messages", &*key, 413), ("POST /v1/messages", "", 401), ("POST /x", "", 404)]
    {
        for bytes in [LARGE, 256 * 1024 + 1] {
            let head = head(request, &format!("{key}expect: 100-continue\r\n{}", length(bytes)));
            let refused = exchange(server.address(), &head, "").await;
            assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{refused}");
            assert!(refused.contains("\r\nconnection: close\r\n"), "{refused}");
            assert!(!refused.contains("100 Continue"), "{refused}");
            // A client may stop waiting for 100 Continue and send the body.
            let impatient = exchange(server.address(), &head, &"x".repeat(bytes)).await;
            assert!(impatient.starts_with(&format!("HTTP/1.1 {status} ")), "{impatient}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_first_and_is_accepted_keeps_its_connection() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let body = r#"{"sender_id": "u", "sender_type": "user", "text": "Hi", "auto_reply": false}"#;
    let key = format!("authorization: Bearer {}\r\nexpect: 100-continue\r\n", server.keys.full);
    let mut client = Client::connect(server.address()).await;

    let in_chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let chunked = "transfer-encoding: chunked\r\n".to_owned();
    for (framing, body) in [(length(body.len()), body), (chunked, &in_chunks)] {
        client.send(head("POST /v1/messages", &format!("{key}{framing}"))).await;
        let mut go_on = [0; 25];
        within("100 Continue", client.0.read_exact(&mut go_on)).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(body).await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_body_that_is_not_read_leaves_the_connection_usable() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let mut client = Client::connect(server.address()).await;

    let (plain, in_chunks) = ("x".repeat(SMALL), chunks(SMALL));
    let chunked = "transfer-encoding: chunked\r\n".to_owned();
    for (framing, body) in [(length(SMALL), plain), (chunked, in_chunks)] {
        client.send(head("POST /v1/messages", &framing)).await;
        let refused = client.answer().await;
        assert!(refused.starts_with("HTTP/1.1 401 ") && !refused.contains("connection: close"), "{refused}");
        client.send(body).await;
        client.send(head("GET /healthz", "")).await;
        let next = client.answer().await;
        assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_stops_sending_is_cut_off() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let mut client = Client::connect(server.address()).await;
    client.send(head("POST /v1/messages", "transfer-encoding: chunked\r\n")).await;
    let refused = client.answer().await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");

    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1024 * 1024));
    let mut sent = 0;
    let flood = async {
        while client.0.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
    };
    within("the connection to be closed", flood).await;

    // The server discards 64 MiB. The sockets' buffers hold the rest.
    let mib = sent / (1024 * 1024);
    assert!((60..100).contains(&mib), "{mib} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_still_sending_does_not_hold_the_stop() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let (mut large, mut small) =
        (Client::connect(server.address()).await, Client::connect(server.address()).await);
    large.send(head("POST /v1/messages", &length(LARGE))).await;
    assert!(large.answer().await.starts_with("HTTP/1.1 401 "));
    small.send(head("POST /v1/messages", &length(SMALL))).await;
    assert!(small.answer().await.starts_with("HTTP/1.1 401 "));

    // Far slower than the 20 MiB that it declared: its body does not end during the test.
    let single_bytes = async {
        while large.0.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    let stopped = Instant::now();
    tokio::select! {
        () = server.stop() => {}
        () = single_bytes => {}
    }

    assert!(stopped.elapsed() < Duration::from_secs(10), "the grace is 25 s: {:?}", stopped.elapsed());
    assert_eq!(small.rest().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_the_answer_arrives_and_the_connection_goes_on() {
    let db = store::sqlite().await;
    let server = Setup::default().h2c().start(&db).await;
    let client = http2_client();
    let url = |path: &str| format!("{}{path}", server.url());

    for (path, key, status) in
        [("/v1/messages", &*server.keys.full, 413), ("/v1/messages", "", 401), ("/x", "", 404)]
    {
        let request = client.post(url(path)).bearer_auth(key).header("content-type", "application/json");
        let answer = within("an answer", request.body(vec![b'x'; LARGE]).send()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (status, Version::HTTP_2), "{path}");
        assert!(!answer.text().await.unwrap().is_empty(), "{path}");
        let next = client.get(url("/healthz")).send().await.unwrap();
        assert_eq!(next.status(), 200);
    }
}

/// Many clients drop the answer when their stream is reset while they are still sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_a_client_may_send_its_body_to_the_end() {
    let db = store::sqlite().await;
    let server = Setup::default().h2c().start(&db).await;
    let client = http2_client();

    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let chunks = futures::stream::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(vec![b'x'; 1024 * 1024])
    });
    let body = reqwest::Body::wrap_stream(chunks.take(20));
    let request = client.post(format!("{}/v1/messages", server.url())).body(body);
    let answer = within("an answer", request.send()).await.unwrap();

    assert_eq!(answer.status(), 401);
    assert!(!answer.text().await.unwrap().is_empty());
    let all = async || (sent.load(Ordering::Relaxed) == 20).then_some(());
    wait_for("the whole body to be read", all).await;
}
