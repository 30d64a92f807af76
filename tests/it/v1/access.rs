//! Who may use which route: each operation of the document of the running server, with no key, a key of another workspace that has all
//! scopes, a key of this workspace with each single scope, and an operator's key. A new route is covered by its declaration.

use std::collections::{BTreeMap, BTreeSet};

use rejoinder::domain::account::Scope;
use serde_json::{Map, Value, json};

use super::keys::{create, create_in};
use crate::operator::Operator;
use crate::support::db::{TestDb, both_backends};
use crate::support::described;
use crate::support::receiver::create_endpoint;
use crate::support::server::{ASSISTANT, TestServer, WIDGET};

/// The routes whose objects the test does not create: they are addressed by an id that nothing has.
const WITHOUT_OBJECT: [&str; 3] = [
    "/v1/assistants/{id}/identity_secrets/{secret_id}",
    "/v1/calendars/{id}/bookings/{booking_id}",
    "/v1/calendars/{id}/bookings/{booking_id}/cancel",
];

/// An operation of the document.
#[derive(Clone, Debug)]
struct Operation {
    method: String,
    /// As in the document.
    path: String,
    /// With the ids of objects of the workspace.
    url: String,
    credential: Credential,
    /// The type of the body, and a body that is valid as far as its schema says.
    body: Option<(String, String)>,
}

/// What the document says of the key that an operation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Credential {
    None,
    /// A key of a workspace with this scope, or with any.
    Workspace(Option<String>),
    /// A visitor needs none, but a key that is sent needs the scope.
    Visitor(String),
    Operator,
}

fn credential(operation: &Value) -> Credential {
    let Some(alternatives) = operation["security"].as_array().filter(|list| !list.is_empty()) else {
        return Credential::None;
    };
    let has_none = alternatives.iter().any(|alternative| alternative == &json!({}));
    let named = alternatives.iter().find(|alternative| alternative != &&json!({})).unwrap();
    if named.get("operator").is_some() {
        return Credential::Operator;
    }
    let scope = named["bearer"][0].as_str().map(str::to_owned);
    match (has_none, scope) {
        (true, scope) => Credential::Visitor(scope.unwrap()),
        (false, scope) => Credential::Workspace(scope),
    }
}

/// A value of a schema, made of its examples.
fn example(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document, document.pointer(&reference[1..]).unwrap());
    }
    if let Some(value) = schema.get("example") {
        return value.clone();
    }
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
    if let Some(first) = alternatives.and_then(|all| all.iter().find(|one| one["type"] != "null")) {
        return example(document, first);
    }
    if let Some(word) = schema["enum"].as_array().and_then(|words| words.first()) {
        return word.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("string");
    match kind {
        "object" => {
            let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none).iter();
            let wanted = properties.filter(|(name, property)| {
                property.get("example").is_some()
                    || required.iter().any(|required| *required == name.as_str())
            });
            wanted.map(|(name, property)| (name.clone(), example(document, property))).collect()
        }
        "array" => json!([example(document, &schema["items"])]),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        _ => json!("x"),
    }
}

/// The required parameters of a query, with their examples.
fn required_query(document: &Value, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let required = parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let query: Vec<String> = required
        .map(|parameter| {
            let value = parameter.get("example").cloned();
            let value = value.unwrap_or_else(|| example(document, &parameter["schema"]));
            format!("{}={}", parameter["name"].as_str().unwrap(), value.as_str().unwrap())
        })
        .collect();
    if query.is_empty() { query.concat() } else { format!("?{}", query.join("&")) }
}

fn body(document: &Value, operation: &Value) -> Option<(String, String)> {
    let content = operation["requestBody"]["content"].as_object()?;
    if let Some(json) = content.get("application/json") {
        let body = example(document, &json["schema"]).to_string();
        return Some(("application/json".to_owned(), body));
    }
    let media_type =
        content.keys().find(|kind| kind.starts_with("text/")).or_else(|| content.keys().next())?;
    Some((media_type.clone(), "A text.".to_owned()))
}

/// Finds the objects of the workspace that the paths of the document address.
struct Objects<'a> {
    server: &'a TestServer,
    /// Has all scopes.
    key: String,
    operator: String,
    known: BTreeMap<&'static str, String>,
    /// The paths for which there was none.
    missing: BTreeSet<String>,
}

impl Objects<'_> {
    async fn url(&mut self, path: &str) -> String {
        let mut url = String::new();
        let mut template = String::new();
        for segment in path.split('/').skip(1) {
            if segment.starts_with('{') {
                let id = self.object(&template, &url, path).await;
                url = format!("{url}/{id}");
            } else {
                url = format!("{url}/{segment}");
            }
            template = format!("{template}/{segment}");
        }
        url
    }

    /// The first object of the collection at this path.
    async fn object(&mut self, template: &str, collection: &str, path: &str) -> String {
        if let Some(id) = self.known.get(template) {
            return id.clone();
        }
        let key = if template.starts_with("/operator/") { &self.operator } else { &self.key };
        let listed = self.server.request("GET", &format!("{collection}?limit=200")).bearer(key).send().await;
        let items = if listed.status == 200 { listed.json()["data"]["items"].clone() } else { Value::Null };
        let id = |item: &Value| item["id"].as_str().or_else(|| item["slug"].as_str()).map(str::to_owned);
        // The last, because the first key is the one that is revoked.
        let found = items.as_array().and_then(|items| items.last()).and_then(id);
        found.unwrap_or_else(|| {
            self.missing.insert(path.to_owned());
            "bkg_00000000000000000000000000".to_owned()
        })
    }
}

/// A workspace with an object of each kind.
async fn objects<'a>(server: &'a TestServer, db: &TestDb, operator: String) -> Objects<'a> {
    let (key, _) = create(server, Scope::ALL).await;
    let endpoint = create_endpoint(server, db, server.tool.url("/hook")).await.id.to_string();
    let sent = server.post_message(WIDGET, "Hi").send().await;
    let turn = sent.header("rejoinder-turn").unwrap().to_owned();
    let conversation = server.conversation_id(WIDGET).await;
    let messages = server.messages(&conversation).await;
    let message = messages[0]["id"].as_str().unwrap().to_owned();
    let reply = messages.last().unwrap()["id"].as_str().unwrap().to_owned();
    let post = async |path: &str, body: Value| {
        let answer = server.request("POST", path).bearer(&key).json(&body).send().await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()["data"]["id"].as_str().unwrap().to_owned()
    };
    let base = post("/v1/knowledge_bases", json!({ "slug": "access" })).await;
    let documents = format!("/v1/knowledge_bases/{base}/documents");
    post(&documents, json!({ "title": "Returns", "text": "Within 14 days." })).await;
    let erasure = post("/v1/erasures", json!({ "external_identifier": "nobody" })).await;
    let listed = server.request("GET", "/operator/v1/workspaces").bearer(&operator).send().await.json();
    let workspaces = listed["data"]["items"].as_array().unwrap();
    let workspace = workspaces.iter().find(|workspace| workspace["slug"] == "demo").unwrap();
    let known = BTreeMap::from([
        ("/api/conversations", WIDGET.to_owned()),
        ("/api/conversations/{uuid}/messages", reply),
        ("/api/chat", WIDGET.to_owned()),
        ("/api/automate/conversations", WIDGET.to_owned()),
        ("/api/assistants", ASSISTANT.to_owned()),
        ("/v1/conversations", conversation),
        ("/v1/turns", turn),
        ("/v1/erasures", erasure),
        ("/v1/assistants/{id}/versions", "1".to_owned()),
        ("/v1/messages", message),
        ("/v1/knowledge_bases", base),
        ("/v1/webhook_endpoints", endpoint),
        ("/operator/v1/workspaces", workspace["id"].as_str().unwrap().to_owned()),
    ]);
    Objects { server, key, operator, known, missing: BTreeSet::new() }
}

async fn list_operations(objects: &mut Objects<'_>) -> Vec<Operation> {
    let document = objects.server.request("GET", "/openapi.json").send().await.json();
    let mut found = Vec::new();
    for (method, path, operation) in described::operations(&document) {
        found.push(Operation {
            method,
            path: path.to_owned(),
            url: objects.url(path).await + &required_query(&document, operation),
            credential: credential(operation),
            body: body(&document, operation),
        });
    }
    found
}

/// The status, and the body unless it is a stream.
async fn call(server: &TestServer, operation: &Operation, key: Option<&str>) -> (u16, String) {
    let mut request = server.request(&operation.method, &operation.url);
    if let Some(key) = key {
        request = request.bearer(key);
    }
    if let Some((media_type, body)) = &operation.body {
        request = request.header("content-type", media_type).body(body);
    }
    let response = request.open().await;
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let is_stream = content_type.is_some_and(|kind| kind.starts_with("text/event-stream"));
    (status, if is_stream { String::new() } else { response.text().await.unwrap() })
}

fn lacks(scope: &str) -> String {
    format!("This key lacks the scope '{scope}'.")
}

/// Checks an operation with each key that it has to refuse.
async fn check_refusals(server: &TestServer, operation: &Operation, keys: &Keys) {
    let named = format!("{} {}", operation.method, operation.path);
    if operation.credential != Credential::Operator {
        let (status, _) = call(server, operation, Some(&keys.operator)).await;
        assert_eq!(status, 401, "{named} with an operator's key");
    }
    match &operation.credential {
        Credential::None => {}
        Credential::Operator => {
            for key in keys.by_scope.iter().map(|(_, key)| key.as_str()).chain([keys.other.as_str()]) {
                assert_eq!(call(server, operation, Some(key)).await.0, 401, "{named} with a workspace's key");
            }
            assert_eq!(call(server, operation, None).await.0, 401, "{named} without a key");
        }
        Credential::Workspace(None) => {
            assert_eq!(call(server, operation, None).await.0, 401, "{named} without a key");
        }
        Credential::Workspace(Some(scope)) => {
            assert_eq!(call(server, operation, None).await.0, 401, "{named} without a key");
            check_scopes(server, operation, scope, keys).await;
        }
        Credential::Visitor(scope) => check_scopes(server, operation, scope, keys).await,
    }
}

/// Checks that a caller who may not use an operation hears so, and not that its query is wrong.
async fn check_refusals_of_unknown_parameters(server: &TestServer, operation: &Operation, keys: &Keys) {
    let separator = if operation.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}limt=1", operation.url);
    check_refusals(server, &Operation { url, ..operation.clone() }, keys).await;
}

async fn check_scopes(server: &TestServer, operation: &Operation, scope: &str, keys: &Keys) {
    for (other, key) in keys.by_scope.iter().filter(|(other, _)| *other != scope) {
        let named = format!("{} {} with a key for {other}", operation.method, operation.path);
        let (status, text) = call(server, operation, Some(key)).await;
        assert_eq!(status, 403, "{named}: {text}");
        assert!(text.contains(&lacks(scope)), "{named}: {text}");
    }
}

/// Checks that a key of another workspace finds nothing of this one.
async fn check_other_workspace(server: &TestServer, operation: &Operation, keys: &Keys) {
    if operation.credential == Credential::Operator || operation.path.starts_with("/api/") {
        return;
    }
    let named = format!("{} {} with a key of another workspace", operation.method, operation.path);
    let (status, text) = call(server, operation, Some(&keys.other)).await;
    assert!(![401, 403, 500].contains(&status), "{named}: {status} {text}");
    for id in &keys.ids {
        let is_echo = text.contains("not found");
        assert!(is_echo || !text.contains(id.as_str()), "{named} has {id}: {text}");
    }
    if operation.path.contains('{') {
        let is_invalid = operation.body.is_some() && status == 400;
        assert!(status == 404 || is_invalid, "{named}: {status} {text}");
    }
}

struct Keys {
    by_scope: Vec<(&'static str, String)>,
    other: String,
    operator: String,
    /// Of objects of the workspace.
    ids: Vec<String>,
}

both_backends!(
    async fn each_operation_accepts_exactly_the_keys_that_its_declaration_names(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await.key;
        let mut objects = objects(&server, &db, operator.clone()).await;
        let mut by_scope = Vec::new();
        for scope in Scope::ALL {
            by_scope.push((scope.as_str(), create(&server, &[*scope]).await.0));
        }
        let (other, _) = create_in(&server, "other", Scope::ALL).await;
        let operations = list_operations(&mut objects).await;
        let ids: Vec<_> = objects.known.values().filter(|id| id.contains('_')).cloned().collect();
        let keys = Keys { by_scope, other, operator, ids };
        assert!(operations.len() > 60, "{}", operations.len());
        assert_eq!(objects.missing, WITHOUT_OBJECT.map(str::to_owned).into());

        for operation in &operations {
            check_refusals(&server, operation, &keys).await;
            check_refusals_of_unknown_parameters(&server, operation, &keys).await;
            check_other_workspace(&server, operation, &keys).await;
        }

        // Last, because these calls have effects: those that read first, and those that take most away at the end.
        let mut granted = operations;
        let order = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        granted.sort_by_key(|operation| {
            let is_operators = operation.credential == Credential::Operator;
            (is_operators, order.iter().position(|method| *method == operation.method))
        });
        for operation in &granted {
            let named = format!("{} {}", operation.method, operation.path);
            let of_scope =
                |scope: &str| keys.by_scope.iter().find(|(known, _)| *known == scope).unwrap().1.as_str();
            let (key, scope) = match &operation.credential {
                Credential::None => continue,
                Credential::Operator => (keys.operator.as_str(), None),
                Credential::Workspace(None) => (objects.key.as_str(), None),
                Credential::Workspace(Some(scope)) | Credential::Visitor(scope) => {
                    (of_scope(scope), Some(scope))
                }
            };
            let (status, text) = call(&server, operation, Some(key)).await;
            assert!(status != 401 && status != 500, "{named}: {status} {text}");
            assert!(scope.is_none_or(|scope| !text.contains(&lacks(scope))), "{named}: {text}");
        }
    }
);
