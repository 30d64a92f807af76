//! Requests as they are sent, and responses as they are returned.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::server::{Canary, Server};
use super::{PATIENCE, get, send};
use crate::outbound::OutboundError;

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let canary = Canary::new();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://127.0.0.1:{}/", canary.port());
        let head = format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::answering(head);

        let response = send(get(server.url())).await.unwrap();

        assert_eq!(response.status, status);
        assert_eq!(response.headers["location"], location);
    }
    canary.assert_untouched();
}

#[tokio::test]
async fn the_body_is_handed_over_as_it_was_sent() {
    let head = "HTTP/1.1 500 Oops\r\ncontent-type: text/html; charset=latin1\r\ncontent-encoding: gzip\r\n";
    let server = Server::answering([head.as_bytes(), b"content-length: 3\r\n\r\n\x1f\x8b\xff"].concat());

    let response = send(get(server.url())).await.unwrap();

    assert_eq!((response.status, response.body.as_ref()), (500, b"\x1f\x8b\xff".as_slice()));
    assert_eq!(response.content_type.as_deref(), Some("text/html; charset=latin1"));
}

#[tokio::test]
async fn framing_headers_of_the_caller_are_not_sent() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let mut request = get(format!("{}a?b#c", server.url()));
    request.method = Method::POST;
    request.body = Some(Bytes::from_static(b"hello"));
    for (name, value) in
        [("x-mine", "1"), ("host", "evil"), ("content-length", "9"), ("transfer-encoding", "chunked")]
    {
        request.headers.insert(name, HeaderValue::from_static(value));
    }

    send(request).await.unwrap();

    let head = server.requests.recv_timeout(PATIENCE).unwrap().to_lowercase();
    assert!(head.starts_with("post /a?b http/1.1\r\n"), "{head}");
    let mut names: Vec<_> = head.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-length", "host", "user-agent", "x-mine"]);
    assert!(
        head.contains(&format!("host: {}\r\n", server.host())) && head.contains("content-length: 5\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut request = get(format!("http://{}/", silent.local_addr().unwrap()));
    request.timeout = SHORT;

    let outcome = send(request).await.err();

    assert!(matches!(outcome, Some(OutboundError::Timeout)), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_of_its_response_times_out() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    let mut request = get(server.url());
    request.timeout = SHORT;

    let outcome = send(request).await.err();

    assert!(matches!(outcome, Some(OutboundError::Timeout)), "{outcome:?}");
}

#[tokio::test]
async fn a_broken_connection_is_distinguished_from_one_never_made() {
    let server = Server::serving(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
        false
    });
    let outcome = send(get(server.url())).await.err();
    assert!(matches!(outcome, Some(OutboundError::Broken(_))), "{outcome:?}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = send(get(format!("http://{closed}/?key=secret"))).await.unwrap_err();
    assert!(matches!(outcome, OutboundError::Connect(_)), "{outcome:?}");
    assert!(!format!("{outcome} {outcome:?}").contains("secret"), "{outcome:?}");

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", plain.local_addr().unwrap());
    std::thread::spawn(move || plain.accept().unwrap().0.write_all(b"HTTP/1.1 400 This is not TLS\r\n\r\n"));
    let outcome = send(get(url)).await.err();
    assert!(matches!(outcome, Some(OutboundError::Connect(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_the_limit() {
    for (size, fits) in [(1024, true), (1025, false)] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{}", "x".repeat(size));
        let outcome = send(get(Server::answering(head).url())).await;

        match outcome {
            Ok(response) => assert!(fits && response.body.len() == size),
            Err(error) => {
                assert!(!fits && matches!(error, OutboundError::TooLarge { status: 200 }), "{error:?}");
            }
        }
    }
}

/// With another thread, because the connection is dropped while this one waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_endless_answer_is_not_read_to_its_end() {
    let (broken, breaks) = channel();
    let server = Server::serving(move |stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
        let error = loop {
            if let Err(error) = stream.write_all(&chunk) {
                break error;
            }
        };
        broken.send(error.kind()).unwrap();
        false
    });

    let outcome = send(get(server.url())).await.err();

    assert!(matches!(outcome, Some(OutboundError::TooLarge { status: 200 })), "{outcome:?}");
    let kind = breaks.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
}
