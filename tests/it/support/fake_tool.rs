//! A scriptable HTTP endpoint for the calls of webhook tools and for signed webhooks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::calls::Calls;
use super::router_server::RouterServer;
use super::script::{Gate, Script};

#[derive(Clone, Debug)]
pub struct ToolRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ToolRequest {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the call's body is JSON")
    }
}

/// A response of the endpoint.
#[derive(Clone)]
pub struct ToolReply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    delay: Duration,
    gate: Option<Gate>,
}

impl ToolReply {
    pub fn json(body: &Value) -> Self {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = body.to_string().into();
        Self { status: StatusCode::OK, headers, body, delay: Duration::ZERO, gate: None }
    }

    pub fn status(status: StatusCode) -> Self {
        let body = Bytes::from_static(b"{}");
        Self { status, body, ..Self::json(&Value::Null) }
    }

    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Delays the whole response.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the response when the test opens the gate.
    pub fn gated_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

pub struct FakeTool {
    server: RouterServer,
    endpoint: Arc<Endpoint>,
}

struct Endpoint {
    calls: Calls<ToolRequest>,
    script: Script<ToolRequest, ToolReply>,
}

impl FakeTool {
    /// Answers every method and path with `{"ok": true}` until the script changes that.
    pub async fn start() -> Self {
        let script = Script::new(|_: &ToolRequest| ToolReply::json(&json!({ "ok": true })));
        let endpoint = Arc::new(Endpoint { calls: Calls::new(), script });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&endpoint));
        Self { server: RouterServer::start(router).await, endpoint }
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// `host:port`, as in `allow_hosts`.
    pub fn host(&self) -> String {
        self.server.address().to_string()
    }

    pub fn script(&self) -> &Script<ToolRequest, ToolReply> {
        &self.endpoint.script
    }

    pub fn calls(&self) -> &Calls<ToolRequest> {
        &self.endpoint.calls
    }
}

async fn answer(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let request = ToolRequest { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    let open = endpoint.calls.begin(request.clone());
    let reply = endpoint.script.next(&request);
    if let Some(gate) = &reply.gate {
        gate.wait_until_open().await;
    }
    tokio::time::sleep(reply.delay).await;
    drop(open);
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
