//! A thin client that keeps the bytes of a response, and a socket for requests that no client would send.

use std::net::SocketAddr;

use axum::body::Bytes;
use http::{HeaderMap, Method};
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::within;
use super::{described, install_tls_provider};

/// A client of one server.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
}

impl Http {
    /// `base` is the server's address (`http://127.0.0.1:8080`), to which paths are appended.
    pub fn new(base: impl Into<String>) -> Self {
        Self { client: client(), base: base.into() }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Request {
        self.request(Method::POST, path).json(body)
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        Request(self.client.request(method, format!("{}{path}", self.base)))
    }
}

/// A reqwest client for this machine, without proxies and certificates.
pub fn client() -> reqwest::Client {
    client_builder().build().expect("a client without certificates")
}

/// A client that uses only HTTP/2.
pub fn http2_client() -> reqwest::Client {
    client_builder().http2_prior_knowledge().build().expect("a client without certificates")
}

/// An HTTP/2 client with a window of zero bytes: it reads the head of a response and nothing of its body.
pub fn zero_window_http2_client() -> reqwest::Client {
    let client = client_builder().http2_prior_knowledge().http2_initial_stream_window_size(0);
    client.build().expect("a client without certificates")
}

pub fn client_builder() -> reqwest::ClientBuilder {
    install_tls_provider();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(reqwest::redirect::Policy::none())
}

/// A request that has not been sent.
pub struct Request(RequestBuilder);

impl Request {
    pub fn bearer(self, key: &str) -> Self {
        Self(self.0.bearer_auth(key))
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub fn json(self, body: &Value) -> Self {
        self.raw_json(body.to_string())
    }

    /// Sets the body and the content type of JSON. The bytes may be anything.
    pub fn raw_json(self, body: impl AsRef<[u8]>) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// Sets the body without a content type.
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        Self(self.0.body(body.as_ref().to_vec()))
    }

    /// The method and the path.
    fn target(&self) -> (Method, String) {
        let copy = self.0.try_clone().expect("a body of bytes");
        let request = copy.build().expect("a valid request");
        (request.method().clone(), request.url().path().to_owned())
    }

    /// Sends the request, and returns the response before its body is read.
    pub async fn open(self) -> reqwest::Response {
        within("an answer", self.0.send()).await.expect("the server answers")
    }

    /// Sends the request. Panics without a response; every status is a response.
    pub async fn send(self) -> Response {
        let (method, path) = self.target();
        let response = within("an answer", self.0.send()).await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = within("an answer's body", response.bytes()).await.expect("the body is complete");
        described::check(&method, &path, status, &headers, &body);
        Response { status, headers, body }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault} in {:?}", self.text()))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is UTF-8")
    }

    /// The value of a header, if it is present.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of visible characters"))
    }
}

/// Sends these bytes unchanged, and returns everything until the server closes the connection. A valid request should contain
/// `connection: close`.
pub async fn send_raw(address: SocketAddr, bytes: &[u8]) -> String {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.expect("the server accepts");
        // A server that refuses early may close before it has read everything.
        let _ = socket.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    within("the server to close the connection", exchange).await
}
