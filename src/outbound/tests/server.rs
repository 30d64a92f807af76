//! A listener on loopback that gives the same response to every request.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

pub(super) struct Server {
    pub port: u16,
    /// The head of each request, in order.
    pub requests: Receiver<String>,
}

impl Server {
    /// Answers each request of each connection with these bytes.
    pub(super) fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::serving(move |stream| stream.write_all(&response).is_ok())
    }

    /// Like [`Self::answering`], on another address of this machine.
    pub(super) fn on(address: IpAddr, port: u16, response: &'static str) -> Self {
        let listener = TcpListener::bind((address, port)).unwrap();
        Self::listening(listener, move |stream| stream.write_all(response.as_bytes()).is_ok())
    }

    /// Answers each request with `serve`, which returns whether the connection stays open.
    pub(super) fn serving(serve: impl Fn(&mut TcpStream) -> bool + Send + 'static) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    fn listening(listener: TcpListener, serve: impl Fn(&mut TcpStream) -> bool + Send + 'static) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (heads, requests) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                while let Some(head) = read_head(&mut stream) {
                    if heads.send(head).is_err() || !serve(&mut stream) {
                        break;
                    }
                }
            }
        });
        Self { port, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A listener that must never be reached. The kernel completes connections before they are accepted, so it detects every
/// attempt.
pub(super) struct Canary(TcpListener);

impl Canary {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// A listener on IPv6 with the same port, if the machine has IPv6.
    pub(super) fn on_ipv6(&self) -> Option<Self> {
        let listener = TcpListener::bind(("::1", self.port())).ok()?;
        listener.set_nonblocking(true).unwrap();
        Some(Self(listener))
    }

    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    #[track_caller]
    pub(super) fn assert_untouched(&self) {
        let reached = self.0.accept();
        assert!(matches!(&reached, Err(error) if error.kind() == ErrorKind::WouldBlock), "{reached:?}");
    }
}
