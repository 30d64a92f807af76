//! Stalled readers of a stream: they are disconnected, free their follower slot, and do not delay a stop.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::http::zero_window_http2_client;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

fn impatient() -> Setup {
    Setup::default().env("REJOINDER_HTTP__WRITE_TIMEOUT", "500ms")
}

async fn is_open(server: &TestServer) {
    wait_for("the stream to be open", async || (server.followers() == 1).then_some(())).await;
}

/// Opens a stream over HTTP/1 with a small buffer, and reads nothing.
async fn stall(server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(server.address()).await.unwrap();
    let key = &server.keys.full;
    let head = format!("GET /v1/events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
    stalled.write_all(head.as_bytes()).await.unwrap();
    is_open(server).await;
    stalled
}

/// Opens a stream over HTTP/2 with a window of zero bytes. The client answers pings.
async fn stall_over_http_2(server: &TestServer, client: &reqwest::Client) -> reqwest::Response {
    let request = client.get(format!("{}/v1/events/stream", server.url())).bearer_auth(&server.keys.full);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// A message of 40 KB.
fn large(conversation: &str) -> String {
    let text = "🦀".repeat(10_000);
    json!({
        "conversation_id": conversation, "sender_id": "u", "sender_type": "user", "text": text, "auto_reply": false,
    })
    .to_string()
}

/// A stalled reader gets what fits into the sockets' buffers, and is then disconnected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_disconnected() {
    let db = store::sqlite().await;
    let server = impatient().start(&db).await;
    let con = server.store_message(None, "begin").await;
    let stalled = stall(&server).await;
    let reads = server.request("GET", "/v1/events/stream?after=latest").bearer(&server.keys.read_only);
    let mut reads = reads.stream().await;

    let (body, sent) = (large(&con), AtomicUsize::new(0));
    let send_and_look = async || {
        assert_eq!(server.enqueue(&body).send().await.status, 200);
        sent.fetch_add(1, Ordering::Relaxed);
        (server.followers() == 1).then_some(())
    };
    wait_for("the end of the stalled stream", send_and_look).await;

    for _ in 0..sent.into_inner() {
        reads.event().await;
    }
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_stalled_http_2_stream_is_reset() {
    let db = store::sqlite().await;
    let server = impatient().h2c().start(&db).await;
    let client = zero_window_http2_client();

    let mut stalled = stall_over_http_2(&server, &client).await;
    wait_for("the follower slot to be free", async || (server.followers() == 0).then_some(())).await;

    let end = format!("{:?}", stalled.chunk().await.unwrap_err());
    assert!(end.contains("Reset(StreamId("), "its connection stays open: {end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_does_not_delay_a_stop() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let con = server.store_message(None, "begin").await;
    let stalled = stall(&server).await;
    let body = large(&con);
    // More bytes than the sockets' buffers.
    for _ in 0..150 {
        assert_eq!(server.enqueue(&body).send().await.status, 200);
    }

    let stopped = Instant::now();
    server.stop().await;

    assert!(stopped.elapsed() < Duration::from_secs(10), "the grace is 25 s: {:?}", stopped.elapsed());
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_http_2_stream_does_not_delay_a_stop() {
    let db = store::sqlite().await;
    let server = Setup::default().h2c().start(&db).await;
    let client = zero_window_http2_client();
    let stalled = stall_over_http_2(&server, &client).await;
    is_open(&server).await;

    let stopped = Instant::now();
    server.stop().await;

    assert!(stopped.elapsed() < Duration::from_secs(10), "the grace is 25 s: {:?}", stopped.elapsed());
    drop(stalled);
}
