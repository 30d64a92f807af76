//! Replays responses through the real client, in the shapes that vendors send: a folder for each family of endpoints, an
//! expectation beside each response. The matrix of `docs/models.md` lists exactly these shapes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rejoinder::domain::chat::{ChatMessage, ChatRequest, ModelAnswer, ModelError, ToolCall};
use rejoinder::model::openai::{Connection, HttpClient, OpenAi};
use rejoinder::model::{ChatModel, collect};
use serde_json::{Map, Value, json};

use crate::support::fake_model::{FakeModel, Reply};
use crate::support::install_tls_provider;

const MATRIX: &str = include_str!("../../../docs/models.md");

/// The fields of an assistant message and of its calls that are the same for every vendor.
const MESSAGE_FIELDS: [&str; 3] = ["role", "content", "tool_calls"];
const CALL_FIELDS: [&str; 3] = ["id", "type", "function"];

/// A response in the form of one family.
struct Shape {
    family: String,
    feature: String,
    path: PathBuf,
}

impl Shape {
    fn reply(&self, expected: &Value) -> Reply {
        let is_stream = self.path.extension().unwrap() == "sse";
        let content_type = if is_stream { "text/event-stream" } else { "application/json" };
        let status = expected["response_status"].as_u64().unwrap_or(200);
        let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
        Reply::raw(status, content_type, fs::read(&self.path).unwrap())
    }

    fn expected(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path.with_extension("expected.json")).unwrap()).unwrap()
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn shapes() -> Vec<Shape> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/model/families");
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files = entries(&root).into_iter().flat_map(|folder| entries(&folder));
    let recorded = files.filter(|path| !path.to_str().unwrap().ends_with(".expected.json"));
    recorded.map(|path| Shape { family: name(path.parent().unwrap()), feature: name(&path), path }).collect()
}

fn client(model: &FakeModel) -> OpenAi {
    install_tls_provider();
    let connection = Connection::new(model.base_url(), Some("sk-canary".into()));
    OpenAi::new(&HttpClient::new(Duration::from_secs(5)).unwrap(), &connection).unwrap()
}

async fn call(client: &OpenAi, messages: Vec<ChatMessage>) -> Result<ModelAnswer, ModelError> {
    let request = ChatRequest {
        model: "m".to_owned(),
        messages: messages.into(),
        tools: Arc::default(),
        has_fallback: false,
        parameters: Map::new(),
    };
    collect(client.start(request)).await
}

fn question() -> ChatMessage {
    ChatMessage::User("Where is my order, and is there a free slot?".to_owned())
}

/// What the next request of the turn contains of the answer beyond the fields that we know.
async fn sent_back(model: &FakeModel, client: &OpenAi, answer: &ModelAnswer) -> Value {
    let calls = answer.calls.iter().enumerate();
    let calls: Vec<_> =
        calls.map(|(index, call)| ToolCall { id: format!("call_{index}"), ..call.clone() }).collect();
    let results =
        calls.iter().map(|call| ChatMessage::Tool { call_id: call.id.clone(), content: "{}".to_owned() });
    let results: Vec<_> = results.collect();
    let round = ChatMessage::Assistant { text: answer.text.clone(), calls, vendor: answer.vendor.clone() };
    call(client, [vec![question(), round], results].concat()).await.expect("the second round");

    let request = model.calls().all().pop().unwrap().request;
    let message = &request.messages()[1];
    let others = |object: &Value, known: &[&str]| {
        let fields = object.as_object().unwrap().clone();
        Value::Object(fields.into_iter().filter(|(key, _)| !known.contains(&key.as_str())).collect())
    };
    let calls = message["tool_calls"].as_array().unwrap().iter().map(|call| others(call, &CALL_FIELDS));
    let mut sent = Map::new();
    sent.insert("message".to_owned(), others(message, &MESSAGE_FIELDS));
    sent.insert("calls".to_owned(), calls.collect());
    sent.retain(|_, fields| !is_empty(fields));
    Value::Object(sent)
}

fn is_empty(fields: &Value) -> bool {
    match fields {
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What the client made of a shape, in the form of an expectation.
async fn outcome(shape: &Shape, expected: &Value) -> Value {
    let model = FakeModel::start().await;
    let client = client(&model);
    model.script().queue([shape.reply(expected)]);
    let answer = match call(&client, vec![question()]).await {
        Ok(answer) => answer,
        Err(error) => return failure(&model, expected, &error),
    };

    let counts = serde_json::to_value(answer.usage).unwrap();
    let counts: Map<_, _> =
        counts.as_object().unwrap().clone().into_iter().filter(|(_, count)| *count != 0).collect();
    let calls = answer.calls.iter().map(|call| json!({ "name": call.name, "arguments": call.arguments }));
    let mut outcome = json!({
        "text": answer.text,
        "calls": calls.collect::<Vec<_>>(),
        "thoughts": answer.thoughts,
        "truncated": answer.is_truncated.then_some(true),
        "usage": counts,
        "sent_back": if answer.calls.is_empty() { json!({}) } else { sent_back(&model, &client, &answer).await },
    });
    outcome.as_object_mut().unwrap().retain(|_, value| !value.is_null() && !is_empty(value));
    outcome
}

fn failure(model: &FakeModel, expected: &Value, error: &ModelError) -> Value {
    let mut detail: Value =
        error.detail_json().map_or(json!({}), |json| serde_json::from_str(&json).unwrap());
    let url = detail.as_object_mut().unwrap().remove("url");
    assert_eq!(url, Some(json!(format!("{}/chat/completions", model.base_url()))));
    let mut outcome = json!({ "failure": error.kind.failure().as_str(), "model_error": detail });
    // How the shape was sent, which is part of the expectation for convenience.
    if let Some(status) = expected.get("response_status") {
        outcome["response_status"] = status.clone();
    }
    outcome
}

#[tokio::test]
async fn every_recorded_shape_is_read_as_expected() {
    let mut wrong = Vec::new();
    for shape in shapes() {
        let expected = shape.expected();
        let outcome = outcome(&shape, &expected).await;
        if outcome != expected {
            wrong.push(format!("{}/{}\n  got  {outcome}\n  want {expected}", shape.family, shape.feature));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_matrix_lists_exactly_the_recorded_shapes() {
    let rows = MATRIX.lines().skip_while(|line| !line.starts_with("| feature |"));
    let rows: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let (head, rows) = rows.split_first().expect("the matrix");
    let folder = |title: &str| title.to_lowercase().replace('.', "");
    let tested = rows[1..].iter().flat_map(|row| {
        let feature = row[0].split('`').nth(1).expect("the name of the feature").to_owned();
        let cells = row.iter().zip(head).skip(1).filter(|(cell, _)| **cell == "yes");
        cells.map(move |(_, family)| (folder(family), feature.clone()))
    });
    let tested: BTreeSet<_> = tested.collect();
    let recorded: BTreeSet<_> = shapes().into_iter().map(|shape| (shape.family, shape.feature)).collect();
    assert_eq!(tested, recorded);
}
