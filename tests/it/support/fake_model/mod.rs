//! A scriptable OpenAI-compatible model over real HTTP, which answers with JSON or SSE as requested.

mod reply;
mod template;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use futures::stream;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

pub use self::reply::{Reply, ToolCall};
use self::wire::{Ending, Wire};
use super::calls::{Calls, OpenCall};
use super::router_server::RouterServer;
use super::script::Script;

#[derive(Clone, Debug)]
pub struct ModelRequest {
    pub headers: HeaderMap,
    /// `null` if the body was not JSON.
    pub body: Value,
}

impl ModelRequest {
    pub fn streams(&self) -> bool {
        self.body["stream"] == true
    }

    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The message that is answered. Earlier ones without a reply precede it in the same message of the user.
    pub fn prompt(&self) -> Option<String> {
        self.last_text("user")?.rsplit("\n\n").next().map(str::to_owned)
    }

    /// The text of the last message of a role (`user`, `system`, `tool` …), in either form of content.
    pub fn last_text(&self, role: &str) -> Option<String> {
        let message = self.messages().iter().rev().find(|message| message["role"] == role)?;
        let content = &message["content"];
        let parts =
            content.as_array().map(|parts| parts.iter().filter_map(|part| part["text"].as_str()).collect());
        parts.or_else(|| content.as_str().map(str::to_owned))
    }

    /// The names of the offered tools, in order.
    pub fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().map_or(&[][..], Vec::as_slice);
        tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect()
    }
}

pub struct FakeModel {
    server: RouterServer,
    endpoint: Arc<Endpoint>,
}

struct Endpoint {
    calls: Calls<ModelRequest>,
    script: Script<ModelRequest, Reply>,
}

impl FakeModel {
    /// Answers each call with a short text until the script changes that.
    pub async fn start() -> Self {
        let script = Script::new(|_: &ModelRequest| Reply::text("A reply of the fake model."));
        let endpoint = Arc::new(Endpoint { calls: Calls::new(), script });
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/v1/models", get(models))
            .with_state(Arc::clone(&endpoint));
        Self { server: RouterServer::start(router).await, endpoint }
    }

    /// The URL, as in `OPENAI_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.server.url())
    }

    pub fn script(&self) -> &Script<ModelRequest, Reply> {
        &self.endpoint.script
    }

    pub fn calls(&self) -> &Calls<ModelRequest> {
        &self.endpoint.calls
    }
}

async fn models() -> axum::Json<Value> {
    axum::Json(
        json!({ "object": "list", "data": [{ "id": "fake", "object": "model", "owned_by": "tests" }] }),
    )
}

async fn answer(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let request =
        ModelRequest { headers: parts.headers, body: serde_json::from_slice(&body).unwrap_or_default() };
    let open = endpoint.calls.begin(request.clone());
    let reply = match template::check(request.messages()) {
        Ok(()) => endpoint.script.next(&request),
        Err(error) => Reply::error(StatusCode::BAD_REQUEST, &error),
    };
    reply.wait().await;
    respond(reply.render(&request, open.index()), open)
}

fn respond(wire: Wire, open: OpenCall<ModelRequest>) -> Response {
    let Wire { status, headers, pieces, ending, pace, pause, then } = wire;
    let rest = (pieces.into_iter().enumerate(), Some(ending), then, open);
    let body = stream::unfold(rest, move |(mut pieces, ending, then, open)| {
        let pause = pause.clone();
        async move {
            // Each piece is sent before the next is produced, like tokens.
            tokio::task::yield_now().await;
            if let Some((index, piece)) = pieces.next() {
                // The role comes first, then the halves of the text.
                if let Some(gate) = pause.filter(|_| index == 2) {
                    gate.wait_until_open().await;
                }
                tokio::time::sleep(pace).await;
                return Some((Ok(piece), (pieces, ending, then, open)));
            }
            if let Some(act) = then {
                act();
            }
            match ending? {
                Ending::Whole => None,
                Ending::Cut => {
                    Some((Err(std::io::Error::other("cut by the test")), (pieces, None, None, open)))
                }
            }
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
