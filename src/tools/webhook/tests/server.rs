//! An HTTP server on loopback that records requests and always returns the same response.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::PATIENCE;

pub(super) struct Server {
    port: u16,
    requests: Receiver<ReceivedRequest>,
}

pub(super) struct ReceivedRequest {
    /// `GET /path?query`.
    pub line: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl ReceivedRequest {
    /// The values of a header, joined with commas; empty if it was not sent.
    pub(super) fn header(&self, name: &str) -> String {
        let values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Server {
    /// Responds to each request with this status line, header lines and body.
    pub(super) fn answering(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        let response = [head.as_bytes(), body].concat();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                while let Some(request) = read_request(&mut stream) {
                    if sender.send(request).is_err() || stream.write_all(&response).is_err() {
                        break;
                    }
                }
            }
        });
        Self { port, requests }
    }

    /// Responds with `{"ok": true}`.
    pub(super) fn content() -> Self {
        Self::answering("200 OK", "content-type: application/json\r\n", r#"{"ok": true}"#)
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn next_request(&self) -> ReceivedRequest {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }

    #[track_caller]
    pub(super) fn assert_untouched(&self) {
        assert!(self.requests.try_recv().is_err());
    }
}

fn read_request(stream: &mut TcpStream) -> Option<ReceivedRequest> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, rest) = head.split_once("\r\n")?;
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut request = ReceivedRequest {
        line: line.strip_suffix(" HTTP/1.1")?.to_owned(),
        headers: rest.lines().filter_map(header).collect(),
        body: String::new(),
    };
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}
