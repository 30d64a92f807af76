//! Clients that open all the connections that they can get.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::http::Http;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::{wait_for, within};

const GREEDY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection from an address of this machine.
async fn connect(server: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    within("a connection", socket.connect(server)).await.unwrap()
}

/// Sends a request, and returns its response; nothing if the connection is closed instead. The connection stays open otherwise.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let exchange = async {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        // A connection that was refused is already closed.
        let _ = stream.write_all(request.as_bytes()).await;
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
            // All of these bodies are JSON objects.
            if answer.ends_with(b"}") {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    };
    within("a response", exchange).await
}

async fn ask_once(server: &TestServer, from: Ipv4Addr, path: &str) -> String {
    ask(&mut connect(server.address(), from).await, path).await
}

/// Opens connections at once and keeps those that are served.
async fn open(server: &TestServer, from: Ipv4Addr, count: usize) -> Vec<TcpStream> {
    let open_one = async || {
        let mut stream = connect(server.address(), from).await;
        let answer = ask(&mut stream, "/healthz").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 "), "{answer}");
        (!answer.is_empty()).then_some(stream)
    };
    join_all((0..count).map(|_| open_one())).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_beyond_its_connections_is_refused_and_another_is_served() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "5").start(&db).await;

    let mut greedy = open(&server, GREEDY, 12).await;
    let refused = ask_once(&server, GREEDY, "/healthz").await;
    let honest = ask_once(&server, HONEST, "/healthz").await;

    assert_eq!((greedy.len(), &*refused), (5, ""));
    assert!(honest.starts_with("HTTP/1.1 200 "), "{honest}");
    greedy.pop();
    wait_for("room for another connection", async || {
        (!ask_once(&server, GREEDY, "/healthz").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_not_limited_as_one_address() {
    let db = store::sqlite().await;
    let setup = Setup::default().env("REJOINDER_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "1");
    let server = setup.env("REJOINDER_LIMITS__TRUSTED_PROXIES", "127.0.0.0/8").start(&db).await;

    assert_eq!(open(&server, GREEDY, 8).await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_still_answers_about_its_health() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_HTTP__MAX_CONNECTIONS", "3").start(&db).await;
    let mut greedy = open(&server, GREEDY, 3).await;
    assert_eq!(greedy.len(), 3);

    let ready = ask_once(&server, HONEST, "/readyz").await;
    let platform = ask_once(&server, HONEST, "/v1/balance").await;
    let widget = ask_once(&server, HONEST, "/api/conversations").await;

    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("connection: close"), "{ready}");
    assert!(platform.starts_with("HTTP/1.1 429 "), "{platform}");
    assert!(platform.ends_with(r#"{"status":"error","message":"The server is overloaded","data":null}"#));
    assert!(widget.starts_with("HTTP/1.1 503 ") && widget.contains("retry-after: 1"), "{widget}");
    assert!(widget.contains("access-control-allow-origin"), "a browser can read it: {widget}");
    greedy.pop();
    wait_for("room for another connection", async || {
        let answer = ask_once(&server, HONEST, "/v1/balance").await;
        answer.starts_with("HTTP/1.1 401 ").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_use_up_the_reserve_for_health() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_HTTP__MAX_CONNECTIONS", "1").start(&db).await;
    let _full = open(&server, GREEDY, 1).await;

    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(connect(server.address(), GREEDY).await);
    }
    let ready = ask_once(&server, HONEST, "/readyz").await;

    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    // Those of the reserve are closed soon, although they send nothing.
    let closed = join_all(silent.iter_mut().map(async |stream| stream.read(&mut [0]).await));
    within("the silent connections to be closed", closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_http_2_connection_is_closed_although_its_client_reads_and_stays() {
    let db = store::sqlite().await;
    let setup = Setup::default().h2c().env("REJOINDER_HTTP__IDLE_TIMEOUT", "200ms");
    let server = setup.start(&db).await;
    let mut stream = connect(server.address(), GREEDY).await;

    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // SETTINGS, and HEADERS of stream 1: GET http://x/healthz.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let headers = [&[0x82, 0x86, 0x41, 1, b'x', 0x44, 8][..], b"/healthz"].concat();
    let length = u8::try_from(headers.len()).unwrap();
    stream.write_all(&[&[0, 0, length, 1, 5, 0, 0, 0, 1][..], &headers].concat()).await.unwrap();
    let mut received = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut received)).await;

    assert!(end.is_ok(), "it is left open");
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains(r#"{"status":"alive"}"#), "the request was answered: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_routes_may_have_a_listener_of_their_own() {
    let db = store::sqlite().await;
    let shared = TestServer::start(&db).await;
    assert_eq!(shared.request("GET", "/metrics").send().await.status, 200);
    shared.stop().await;
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_OPERATOR__LISTEN", "127.0.0.1:0").start(&db).await;
    let operator = Http::new(format!("http://{}", server.operator_address()));

    let mut found = Vec::new();
    for path in ["/metrics", "/healthz", "/readyz", "/v1/balance"] {
        let public = server.request("GET", path).send().await.status;
        found.push((path, public, operator.get(path).send().await.status));
    }

    let expected =
        [("/metrics", 404, 200), ("/healthz", 200, 200), ("/readyz", 200, 200), ("/v1/balance", 401, 404)];
    assert_eq!(found, expected);
}
