//! Every fault of a model or a tool, through both APIs, on both databases: the client's error and the charge.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::checker::check;
use crate::client::{Api, Client, CompletedOperation, Operation};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Reader, gather};
use crate::fakes;
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::support::db::Backend;
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::fake_tool::{ToolReply, ToolRequest};
use crate::support::script::Gate;
use crate::support::wait::wait_for;

/// Name, a faulty reply of the model, the error code of both APIs, and the widget API's error text.
type ModelFault = (&'static str, fn() -> Reply, &'static str, &'static str);

const UNREADABLE: &str = "The model's answer could not be read";
const HALF_A_CALL: &str = r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"note","arguments":"{\"text\": \"ha"}}]}}]}

"#;

/// The last one rate-limits the model for a moment, which would affect a following test.
const MODEL_FAULTS: [ModelFault; 16] = [
    ("500", || failing(StatusCode::INTERNAL_SERVER_ERROR), "model_unavailable", "The model is unavailable"),
    ("502", || html(StatusCode::BAD_GATEWAY), "model_unavailable", "The model is unavailable"),
    ("503", || failing(StatusCode::SERVICE_UNAVAILABLE), "model_unavailable", "The model is unavailable"),
    ("401", || failing(StatusCode::UNAUTHORIZED), "model_refused", "The model refused the request"),
    ("silent", || Reply::text("Never.").gated_by(&Gate::closed()), "model_timeout", "Connection timeout"),
    (
        "slow",
        || Reply::text("Drop by drop").paced(Duration::from_secs(5)),
        "model_timeout",
        "Connection timeout",
    ),
    ("garbage", Reply::garbage, "model_unreadable", UNREADABLE),
    ("empty", || Reply::raw(StatusCode::OK, "application/json", ""), "model_unreadable", UNREADABLE),
    ("choiceless", Reply::no_choices, "model_unreadable", UNREADABLE),
    ("null", || answer(br#"{"choices":[{"message":{"content":null}}]}"#), "model_unreadable", UNREADABLE),
    (
        "binary",
        || answer(b"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}"),
        "model_unreadable",
        UNREADABLE,
    ),
    (
        "huge",
        || Reply::raw(StatusCode::OK, "application/json", vec![b' '; 8 << 20]),
        "model_unreadable",
        UNREADABLE,
    ),
    ("cut", || Reply::cut("secret-7, and more of it"), "model_unreadable", UNREADABLE),
    ("half", || Reply::unfinished("secret-7, and more of it"), "model_unreadable", UNREADABLE),
    (
        "half-call",
        || Reply::raw(StatusCode::OK, "text/event-stream", HALF_A_CALL),
        "model_unreadable",
        UNREADABLE,
    ),
    ("429", || html(StatusCode::TOO_MANY_REQUESTS), "model_rate_limited", "The model is rate limited"),
];

/// Name, the model's tool call, the tool's faulty reply, and a part of the error in the call's result. The turn goes on.
type ToolFault = (&'static str, fn(&str) -> ToolCall, fn() -> ToolReply, &'static str);

const TOOL_FAULTS: [ToolFault; 7] = [
    ("tool-unknown", |text| ToolCall::new("rocket", &json!({ "text": text })), unused, "There is no tool"),
    ("tool-no-json", |_| ToolCall::with_text("note", "{broken"), unused, "not valid JSON"),
    ("tool-misfit", |_| ToolCall::new("note", &json!({ "text": 7 })), unused, "do not fit"),
    ("tool-500", note, || ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR), "status 500"),
    ("tool-redirect", note, redirect, "redirect"),
    ("tool-huge", note, || unused().with_body(vec![b'x'; 2 << 20]), "too large"),
    ("tool-slow", hasty, || unused().after(Duration::from_secs(5)), "did not answer"),
];

fn failing(status: StatusCode) -> Reply {
    Reply::error(status, "secret-7")
}

fn html(status: StatusCode) -> Reply {
    Reply::raw(status, "text/html", "<h1>secret-7</h1>")
}

fn answer(body: &'static [u8]) -> Reply {
    Reply::raw(StatusCode::OK, "application/json", body)
}

fn note(text: &str) -> ToolCall {
    ToolCall::new("note", &json!({ "text": text }))
}

fn hasty(text: &str) -> ToolCall {
    ToolCall::new("hasty", &json!({ "text": text }))
}

fn unused() -> ToolReply {
    ToolReply::json(&json!({}))
}

fn redirect() -> ToolReply {
    ToolReply::status(StatusCode::FOUND).with_header(header::LOCATION, "http://169.254.169.254/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run("fault_matrix_sqlite", Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    run("fault_matrix_postgres", Backend::Postgres).await;
}

async fn run(test: &str, backend: Backend) {
    let setup = Setup::new(backend, 1)
        .env("REJOINDER_TURN__MAX_ATTEMPTS", "1")
        .env("REJOINDER_TURN__DEADLINE", "5s")
        .env("REJOINDER_MODEL__IDLE_TIMEOUT", "1s");
    let cluster = Cluster::start(setup).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, 0)));
    let monitor = LedgerMonitor::start(&cluster);
    misbehave(&cluster);
    let mut done = Vec::new();
    for (name, _, part) in TOOL_FAULTS.map(|(name, _, reply, part)| (name, reply, part)) {
        for api in Api::ALL {
            let sent = send(&client, done.len(), api, name).await;
            let calls = calls_of(&client, &sent).await;
            let error = calls[0]["result"]["error"].as_str().unwrap_or_default();
            assert_eq!(calls.len(), 1, "{name}, {api:?}: {calls:?}");
            assert!(error.contains(part), "{name}, {api:?}: {calls:?}");
            done.push(sent);
        }
    }
    for (name, _, code, words) in MODEL_FAULTS {
        for api in Api::ALL {
            let sent = send(&client, done.len(), api, name).await;
            let response = sent.outcome.response().expect("it was answered");
            if api == Api::Widget {
                let expected =
                    json!({ "status": false, "error": format!("Failed to process message: {words}") });
                assert_eq!((response.status, response.json()), (400, expected), "{name}");
                assert_eq!(response.error.as_deref(), Some(code), "{name}");
            }
            let turn = ended_turn(&client, response.turn.as_deref().unwrap()).await;
            assert_eq!(
                (&turn["state"], &turn["reason"]),
                (&json!("failed"), &json!(code)),
                "{name}, {api:?}"
            );
            done.push(sent);
        }
    }
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    let events: String = evidence.events.iter().map(Value::to_string).collect();
    assert!(!events.contains("secret-7") && !events.contains("127.0.0.1"), "no internal detail leaks");
    let faults = MODEL_FAULTS.len() + TOOL_FAULTS.len();
    check(&evidence, test, &format!("{faults} faults of model and tools through both APIs"));
}

/// Makes the fakes fail as the last word of a message says.
fn misbehave(cluster: &Cluster) {
    cluster.fakes.model.script().respond_with(|request: &ModelRequest| {
        let prompt = request.prompt().unwrap_or_default();
        let name = prompt.rsplit(' ').next().unwrap_or_default();
        if let Some((_, reply, ..)) = MODEL_FAULTS.iter().find(|(fault, ..)| *fault == name) {
            return reply();
        }
        match TOOL_FAULTS.iter().find(|(fault, ..)| *fault == name) {
            Some((_, call, ..)) if fakes::rounds(request) == 0 => Reply::tool_calls([call(&prompt)]),
            _ => Reply::text(&format!("re: {prompt}")),
        }
    });
    cluster.fakes.tool.script().respond_with(|request: &ToolRequest| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let fault = TOOL_FAULTS.iter().find(|(name, ..)| body.contains(name));
        fault.map_or_else(unused, |(_, _, reply, _)| reply())
    });
}

async fn send(client: &Client, number: usize, api: Api, fault: &str) -> CompletedOperation {
    let conversation = client.create_conversation(api).await;
    let text = format!("conversation-{number} {fault}");
    let operation = Operation { number, conversation, text, key: None, auto_reply: true, is_streamed: false };
    client.perform(operation, 0).await
}

/// The calls of the reply, which follows later in the platform API.
async fn calls_of(client: &Client, done: &CompletedOperation) -> Vec<Value> {
    let response = done.outcome.response().expect("it was answered");
    assert_eq!(response.status, 200, "{response:?}");
    let turn = ended_turn(client, response.turn.as_deref().unwrap()).await;
    assert_eq!(turn["state"], "completed", "{turn}");
    let path = format!("/v1/conversations/{}/messages", done.operation.conversation.id);
    let messages = Reader::new(&client.cluster).list(&path, "cursor").await;
    let reply =
        messages.iter().find(|message| message.get("reply_to_message_id").is_some()).expect("a reply");
    reply["function_calls"].as_array().cloned().unwrap_or_default()
}

async fn ended_turn(client: &Client, turn: &str) -> Value {
    let reader = Reader::new(&client.cluster);
    let path = format!("/v1/turns/{turn}");
    let ended = async || reader.try_get(&path).await.filter(|turn| turn.get("ended_at").is_some());
    wait_for("the turn's end", ended).await
}
