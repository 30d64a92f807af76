//! Radicale, a real CalDAV server with one user and one calendar, in a temporary folder; and a scriptable proxy in front of it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use tempfile::TempDir;

use super::calls::Calls;
use super::http::client;
use super::router_server::RouterServer;
use super::script::{Gate, Script};
use super::wait::wait_for;

pub const OWNER: &str = "owner@shop.example";
pub const PASSWORD: &str = "s3cret-of-the-owner";

/// The folder in which `scripts/setup` installs it.
const PYTHON: &str = "target/peers/radicale/bin/python";

/// A running server, killed when this is dropped.
pub struct Radicale {
    process: Child,
    address: String,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Radicale {
    pub async fn start() -> Self {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(PYTHON);
        assert!(python.exists(), "{} is missing: scripts/setup installs Radicale", python.display());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("users"), format!("{OWNER}:{PASSWORD}\n")).expect("a file of the test");
        let settings = format!(
            "[server]\nhosts = 127.0.0.1:0\n[auth]\ntype = htpasswd\nhtpasswd_filename = {}\nhtpasswd_encryption = plain\ndelay = 0\n\
             [storage]\nfilesystem_folder = {}\n",
            path("users").display(),
            path("store").display()
        );
        std::fs::write(path("settings"), settings).expect("a file of the test");
        let mut command = Command::new(&python);
        command.args(["-m", "radicale", "--config"]).arg(path("settings")).stderr(Stdio::piped());
        let mut process = command.spawn().expect("Radicale starts");
        let output = process.stderr.take().expect("its output is piped");
        let (lines, output_lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let address = wait_for("Radicale's address", || {
            let found = output_lines.try_iter().find_map(|line| {
                let (_, rest) = line.split_once("Listening on '")?;
                Some(rest.trim_end_matches('\'').to_owned())
            });
            std::future::ready(found)
        })
        .await;
        let radicale = Self { process, address, client: client(), _folder: folder };
        let created = radicale.send("MKCALENDAR", "", &[], String::new()).await.0;
        assert_eq!(created, StatusCode::CREATED);
        radicale
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        &self.address
    }

    /// The URL of the calendar's collection.
    pub fn url(&self) -> String {
        format!("http://{}/{OWNER}/work/", self.address)
    }

    /// Sends a request as another program. `name` is a resource of the calendar, or empty for the calendar itself.
    pub async fn send(
        &self,
        method: &str,
        name: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> (StatusCode, HeaderMap, String) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{name}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.basic_auth(OWNER, Some(PASSWORD)).body(body).send().await.expect("an answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.expect("a text"))
    }

    /// Writes an event as another program.
    pub async fn put(&self, name: &str, event: &str) {
        let (status, _, text) =
            self.send("PUT", name, &[("content-type", "text/calendar")], calendar(event)).await;
        assert!(status.is_success(), "{status} {text}");
    }

    /// The whole calendar, read by a GET request.
    pub async fn all(&self) -> String {
        self.send("GET", "", &[], String::new()).await.2.replace("\r\n ", "").replace('\r', "")
    }

    /// The number of events.
    pub async fn count(&self) -> usize {
        self.all().await.matches("BEGIN:VEVENT").count()
    }

    /// The resource names of the events that tool calls have created.
    pub async fn of_calls(&self) -> Vec<String> {
        let all = self.all().await;
        all.lines()
            .filter_map(|line| line.strip_prefix("UID:call_"))
            .map(|rest| format!("call_{rest}.ics"))
            .collect()
    }
}

impl Drop for Radicale {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An iCalendar text with these events. `\n` becomes CRLF.
pub fn calendar(events: &str) -> String {
    let text =
        format!("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Tests//EN\n{}\nEND:VCALENDAR\n", events.trim());
    text.replace('\n', "\r\n")
}

/// An event with additional lines.
pub fn event(uid: &str, lines: &str) -> String {
    format!(
        "BEGIN:VEVENT\nUID:{uid}\nDTSTAMP:20260101T000000Z\nSUMMARY:Of another\n{}\nEND:VEVENT",
        lines.trim()
    )
}

/// The handling of a request by the proxy.
#[derive(Clone)]
pub enum ProxyAction {
    Forward,
    /// Another program writes this event, under a name, before the request is forwarded.
    WriteFirst(String, String),
    /// The request is forwarded, and the response is held back.
    HoldResponse(Gate),
    /// The request is not forwarded, and gets this response.
    Respond(StatusCode, Bytes),
    /// The request is forwarded, and the response replaced by this status.
    ReplaceResponse(StatusCode),
    /// The request is not forwarded, and gets no response.
    Hang,
}

/// A proxy in front of the server. A script decides about each request by its method.
pub struct CalDavProxy {
    server: RouterServer,
    inner: Arc<Inner>,
}

struct Inner {
    radicale: Arc<Radicale>,
    calls: Calls<(Method, String)>,
    script: Script<Method, ProxyAction>,
}

impl CalDavProxy {
    pub async fn start(radicale: &Arc<Radicale>) -> Self {
        let (radicale, script) = (Arc::clone(radicale), Script::new(|_: &Method| ProxyAction::Forward));
        let inner = Arc::new(Inner { radicale, calls: Calls::new(), script });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        Self { server: RouterServer::start(router).await, inner }
    }

    pub fn host(&self) -> String {
        self.server.address().to_string()
    }

    pub fn url(&self) -> String {
        format!("{}/{OWNER}/work/", self.server.url())
    }

    pub fn script(&self) -> &Script<Method, ProxyAction> {
        &self.inner.script
    }

    /// All received requests.
    pub fn calls(&self) -> &Calls<(Method, String)> {
        &self.inner.calls
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let open = inner.calls.begin((parts.method.clone(), parts.uri.path().to_owned()));
    let line = inner.script.next(&parts.method);
    if let ProxyAction::WriteFirst(name, event) = &line {
        inner.radicale.put(name, event).await;
    }
    if let ProxyAction::Respond(status, body) = line {
        return answer(status, HeaderMap::new(), body);
    }
    if matches!(line, ProxyAction::Hang) {
        std::future::pending::<()>().await;
    }
    let url = format!("http://{}{}", inner.radicale.host(), parts.uri.path());
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let sent = inner.radicale.client.request(parts.method, url).headers(headers).body(body).send().await;
    let sent = sent.expect("Radicale answers");
    let (status, headers) = (sent.status(), sent.headers().clone());
    let body = sent.bytes().await.expect("a body");
    drop(open);
    match line {
        ProxyAction::HoldResponse(gate) => gate.wait_until_open().await,
        ProxyAction::ReplaceResponse(status) => return answer(status, HeaderMap::new(), Bytes::new()),
        _ => {}
    }
    answer(status, headers, body)
}

fn answer(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
