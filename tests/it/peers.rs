//! Replays what the client libraries of other projects have sent (`scripts/peers --record`), and compares the answers with those
//! that these libraries accepted: status, headers, the order of the parts, and the keys of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::fake_tool::{ToolReply, ToolRequest};
use crate::support::server::{ASSISTANT, Setup, TestServer};
use crate::support::wait::within;

const CLIENTS: [&str; 3] = ["ai5", "ai6", "assistant-ui"];
const ROUTES: [&str; 3] = ["chat", "widget", "platform"];
/// The headers of an answer that are compared.
const HEADERS: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-encoding",
    "rejoinder-error",
    "x-accel-buffering",
    "x-vercel-ai-ui-message-stream",
];
/// Scenarios that are replayed at once.
const AT_ONCE: usize = 16;
/// Between the pieces of a slow answer, long enough for a client to come back before its end.
const PACE: Duration = Duration::from_millis(500);
/// Before a late answer.
const LATE: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Recording {
    client: String,
    route: String,
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    exchanges: Vec<Exchange>,
}

/// A request, and what the client received. Ids are names in braces.
#[derive(Deserialize)]
struct Exchange {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Value,
    /// The request was sent when an earlier, open stream had this many frames.
    during: Option<usize>,
    response: Received,
}

#[derive(Deserialize)]
struct Received {
    status: u16,
    headers: BTreeMap<String, String>,
    /// Of a stream.
    frames: Option<Vec<Value>>,
    /// Of any other answer.
    #[serde(default)]
    body: Value,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ending {
    Complete,
    /// The connection broke.
    Cut,
    /// The client disconnected.
    Aborted,
}

/// All recordings: one of each client over each route.
fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/recorded");
    let names = CLIENTS.iter().flat_map(|client| ROUTES.map(|route| format!("{client}-{route}.json")));
    let read = |name: String| -> Recording {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|fault| panic!("{}: {fault}; scripts/peers --record writes it", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    };
    names.map(read).collect()
}

both_backends!(
    async fn recorded_clients_receive_what_they_accepted(db: TestDb) {
        let recordings = recordings();
        let server = Setup::default().start(&db).await;
        let plans: Value = serde_json::from_str(include_str!("../peers/plans.json")).unwrap();
        server.model.script().respond_with(move |request: &ModelRequest| planned_reply(&plans, request));
        server.tool.script().respond_with(|request: &ToolRequest| match request.uri.path() {
            "/orders/broken" => ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR),
            _ => ToolReply::json(&json!({ "ok": true })),
        });

        let all = recordings
            .iter()
            .flat_map(|recording| recording.scenarios.iter().map(move |scenario| (recording, scenario)));
        let replayed = stream::iter(all)
            .map(|(recording, scenario)| replay(&server, recording, scenario))
            .buffer_unordered(AT_ONCE);
        assert!(replayed.count().await > 0);
    }
);

/// The model's answer: the last word of the message names a plan, as for the doubles of `scripts/peers`.
fn planned_reply(plans: &Value, request: &ModelRequest) -> Reply {
    let prompt = request.prompt().unwrap_or_default();
    let word = prompt.rsplit(' ').next().unwrap_or_default();
    let plan = plans[word].as_array().or_else(|| plans["plain"].as_array()).expect("a plan");
    let messages = request.messages();
    let asked = messages.iter().rposition(|message| message["role"] == "user").unwrap_or(0);
    let done = messages[asked..].iter().filter(|message| message["tool_calls"].is_array()).count();
    let round = &plan[done.min(plan.len() - 1)];
    if let Some(status) = round["status"].as_u64() {
        return Reply::error(StatusCode::from_u16(status.try_into().unwrap()).unwrap(), "No.");
    }
    let text = round["text"].as_str().unwrap_or_default();
    let reply = match round["calls"].as_array() {
        None => Reply::text(text),
        Some(calls) => {
            let calls = calls.iter().map(|call| {
                let name = call["name"].as_str().expect("a name");
                ToolCall::new(name, &call["arguments"])
            });
            Reply::text_and_tool_calls(text, calls)
        }
    };
    let reply = if round["slow"] == true { reply.paced(PACE) } else { reply };
    if round["late"] == true { reply.after(LATE) } else { reply }
}

/// Sends the requests of a scenario in a new conversation, and compares the answers.
async fn replay(server: &TestServer, recording: &Recording, scenario: &Scenario) {
    let kind = if recording.route == "platform" { "api" } else { "widget" };
    let body = json!({ "assistant_id": ASSISTANT, "type": kind, "variables": { "name": "Ada" } });
    let request = server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body);
    let created = request.send().await.json();
    // A conversation of the platform API has no UUID.
    let text = |name: &str| created["data"][name].as_str().unwrap_or_default().to_owned();
    let mut ids = Ids(BTreeMap::from([
        ("{key}".to_owned(), server.keys.full.clone()),
        ("{uuid}".to_owned(), text("widget_uuid")),
        ("{conversation}".to_owned(), text("id")),
    ]));
    let mut exchanges = scenario.exchanges.iter().enumerate().peekable();
    while let Some((nth, exchange)) = exchanges.next() {
        let (client, route, name) = (&recording.client, &recording.route, &scenario.name);
        let what = |nth: usize| format!("{client}, {route}, {name} [{nth}]");
        let mut answer = Answer::open(server, exchange, &ids).await;
        while let Some((inner_nth, inner)) = exchanges.next_if(|(_, next)| next.during.is_some()) {
            answer.read_frames(inner.during.unwrap_or(0)).await;
            ids.learn_frames(exchange, &answer);
            let mut inner_answer = Answer::open(server, inner, &ids).await;
            inner_answer.finish(inner, &mut ids, &what(inner_nth)).await;
        }
        answer.finish(exchange, &mut ids, &what(nth)).await;
    }
}

/// The ids of this run by their names in the recording.
struct Ids(BTreeMap<String, String>);

impl Ids {
    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    fn fill_value(&self, value: &Value) -> Value {
        serde_json::from_str(&self.fill(&value.to_string())).expect("ids need no escapes")
    }

    /// Learns new ids where the recording has their names.
    fn learn(&mut self, recorded: &Value, actual: &Value) {
        match (recorded, actual) {
            (Value::String(name), Value::String(id)) if name.starts_with('{') && name.ends_with('}') => {
                self.0.entry(name.clone()).or_insert_with(|| id.clone());
            }
            (Value::Object(recorded), Value::Object(actual)) => {
                for (key, recorded) in recorded {
                    self.learn(recorded, actual.get(key).unwrap_or(&Value::Null));
                }
            }
            (Value::Array(recorded), Value::Array(actual)) => {
                for (recorded, actual) in recorded.iter().zip(actual) {
                    self.learn(recorded, actual);
                }
            }
            _ => {}
        }
    }

    fn learn_frames(&mut self, exchange: &Exchange, answer: &Answer) {
        for (recorded, actual) in exchange.response.frames.iter().flatten().zip(&answer.frames) {
            self.learn(recorded, actual);
        }
    }
}

/// An answer that is being read.
struct Answer {
    status: u16,
    headers: HeaderMap,
    response: reqwest::Response,
    /// The bytes after the last complete frame.
    rest: Vec<u8>,
    /// Consecutive deltas are one frame.
    frames: Vec<Value>,
}

impl Answer {
    async fn open(server: &TestServer, exchange: &Exchange, ids: &Ids) -> Self {
        let mut request = server.request(&exchange.method, &ids.fill(&exchange.path));
        for (name, value) in &exchange.headers {
            request = request.header(name, &ids.fill(value));
        }
        if !exchange.body.is_null() {
            request = request.body(ids.fill(&exchange.body.to_string()));
        }
        let response = request.open().await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, response, rest: Vec::new(), frames: Vec::new() }
    }

    /// Reads the next bytes; false at the end.
    async fn read(&mut self) -> bool {
        let chunk = within("a part of the answer", self.response.chunk()).await;
        let Some(chunk) = chunk.expect("the answer is not interrupted") else { return false };
        self.rest.extend(chunk);
        if self.is_stream() {
            while let Some(end) = self.rest.windows(2).position(|bytes| bytes == b"\n\n") {
                let block: Vec<u8> = self.rest.drain(..end + 2).collect();
                self.add(std::str::from_utf8(&block).expect("a frame is UTF-8"));
            }
        }
        true
    }

    fn is_stream(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }

    fn add(&mut self, block: &str) {
        let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else { return };
        let frame = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
        if let Some(last) = self.frames.last_mut()
            && frame["type"] == "text-delta"
            && (&last["type"], &last["id"]) == (&frame["type"], &frame["id"])
        {
            let more = frame["delta"].as_str().unwrap_or_default();
            let text = format!("{}{more}", last["delta"].as_str().unwrap_or_default());
            last["delta"] = json!(text);
        } else {
            self.frames.push(frame);
        }
    }

    /// Reads until there are so many frames, or to the end.
    async fn read_frames(&mut self, count: usize) {
        while self.frames.len() < count && self.read().await {}
    }

    /// Reads as much as the client did, and compares it with what the client received.
    async fn finish(&mut self, exchange: &Exchange, ids: &mut Ids, what: &str) {
        let Received { status, headers, frames, body, ending } = &exchange.response;
        assert_eq!(self.status, *status, "{what}");
        for name in HEADERS {
            let actual = self.headers.get(name).map(|value| value.to_str().expect("visible characters"));
            assert_eq!(actual, headers.get(name).map(String::as_str), "{what}: {name}");
        }
        let Some(frames) = frames else {
            while self.read().await {}
            let actual = serde_json::from_slice(&self.rest).unwrap_or_default();
            ids.learn(body, &actual);
            assert_eq!(shape(&actual, true), shape(&ids.fill_value(body), true), "{what}");
            return;
        };
        if *ending == Ending::Complete {
            while self.read().await {}
        } else {
            self.read_frames(frames.len()).await;
            self.frames.truncate(frames.len());
        }
        ids.learn_frames(exchange, self);
        let is_whole = *ending == Ending::Complete && frames.iter().all(|frame| frame["type"] != "abort");
        let shapes = |frames: &[Value]| -> Vec<Value> {
            frames.iter().map(|frame| shape(&ids.fill_value(frame), is_whole)).collect()
        };
        assert_eq!(shapes(&self.frames), shapes(frames), "{what}");
    }
}

/// The keys whose texts are compared, because clients depend on them.
const COMPARED: [&str; 7] = ["type", "toolName", "errorText", "error", "message", "status", "state"];

/// A value with other texts and numbers replaced by their kind. The text of a reply stays if `is_whole`.
fn shape(value: &Value, is_whole: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let is_compared = COMPARED.contains(&name.as_str()) || (is_whole && name == "delta");
                let is_kept = is_compared && value.is_string();
                (name.clone(), if is_kept { value.clone() } else { shape(value, is_whole) })
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(|item| shape(item, is_whole)).collect(),
        // The end of a stream.
        Value::String(text) if text == "[DONE]" => value.clone(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}
