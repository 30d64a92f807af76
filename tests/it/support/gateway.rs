//! An HTTP proxy in front of a server, which records requests, and can hold them back or break their answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::calls::Calls;
use super::http::client;
use super::router_server::RouterServer;
use super::script::{Gate, Script};

/// A request that has reached the gateway.
#[derive(Clone, Debug)]
pub struct Passage {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub headers: HeaderMap,
}

impl Passage {
    /// Whether it has this method and a path with this end, the query aside.
    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == *method && self.path.split('?').next().is_some_and(|path| path.ends_with(end))
    }
}

/// What the gateway does with a request.
#[derive(Clone)]
pub enum Action {
    Pass,
    /// Passes the request on when the test opens the gate.
    Hold(Gate),
    /// Answers with this status, as a server that is overloaded.
    Refuse(StatusCode),
    /// Passes the request on. Of the answer only the head arrives.
    CutAnswer,
}

pub struct Gateway {
    server: RouterServer,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    client: reqwest::Client,
    calls: Calls<Passage>,
    script: Script<Passage, Action>,
}

impl Gateway {
    /// Starts a gateway to the server at a URL. It passes everything on until the script says otherwise.
    pub async fn start(target: &str) -> Self {
        let calls = Calls::new();
        let script = Script::new(|_: &Passage| Action::Pass);
        let shared = Arc::new(Shared { target: target.to_owned(), client: client(), calls, script });
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        Self { server: RouterServer::start(routes).await, shared }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Sets what happens with the next requests.
    pub fn on(&self, decide: impl FnMut(&Passage) -> Action + Send + 'static) {
        self.shared.script.respond_with(decide);
    }

    /// The requests so far with this method and a path with this end.
    pub fn requests(&self, method: &str, end: &str) -> Vec<Passage> {
        let all = self.shared.calls.all().into_iter().map(|call| call.request);
        all.filter(|request| request.is(method, end)).collect()
    }

    /// The number of those requests whose answers have not ended.
    pub fn open_requests(&self, method: &str, end: &str) -> usize {
        let all = self.shared.calls.all();
        all.iter().filter(|call| call.ended.is_none() && call.request.is(method, end)).count()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let passage = Passage { method: parts.method, path, headers: parts.headers };
    let open = shared.calls.begin(passage.clone());
    let action = shared.script.next(&passage);
    if let Action::Hold(gate) = &action {
        gate.wait_until_open().await;
    }
    if let Action::Refuse(status) = action {
        let headers =
            HeaderMap::from_iter([(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))]);
        return response(status, headers, Body::empty());
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Passage { method, path, mut headers } = passage;
    headers.remove(header::HOST);
    let request =
        shared.client.request(method, format!("{}{path}", shared.target)).headers(headers).body(body);
    let Ok(answer) = request.send().await else { return broken(StatusCode::BAD_GATEWAY, HeaderMap::new()) };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    if matches!(action, Action::CutAnswer) {
        // The server has done its work when its answer begins to end.
        let _ = answer.bytes().await;
        headers.remove(header::CONTENT_LENGTH);
        return broken(status, headers);
    }
    let pieces = answer.bytes_stream().map(move |piece| {
        let _ = &open;
        piece
    });
    response(status, headers, Body::from_stream(pieces))
}

/// An answer whose connection breaks after its head.
fn broken(status: StatusCode, headers: HeaderMap) -> Response {
    let cut = stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("cut by the test")) });
    response(status, headers, Body::from_stream(cut))
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
