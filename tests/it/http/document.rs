//! The `OpenAPI` document, compared with real responses.

use std::collections::BTreeSet;

use crate::support::described::{assert_valid, document, validator};
use crate::support::server::{ASSISTANT, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

use serde_json::{Value, json};

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The names of a schema's properties.
fn properties(document: &Value, schema: &str) -> BTreeSet<String> {
    let schema = &document["components"]["schemas"][schema];
    let mut names = BTreeSet::new();
    for part in schema["allOf"].as_array().unwrap_or(&vec![schema.clone()]) {
        names.extend(part["properties"].as_object().into_iter().flat_map(|found| found.keys().cloned()));
    }
    names
}

/// A path with its parameters replaced by names.
pub(super) fn with_names(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_served_and_describes_both_apis_with_their_errors() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;

    let answer = server.request("GET", "/openapi.json").send().await;
    let document = answer.json();

    assert_eq!(document["openapi"], "3.1.0");
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/api/conversations/{uuid}/messages",
        "/v1/messages",
        "/v1/conversations/{id}/widget_link",
        "/v1/ledger",
    ] {
        assert!(paths.contains(&path), "{paths:?}");
    }
    let first = |prefix: &str| paths.iter().find(|path| path.starts_with(prefix)).copied();
    assert_eq!(first("/api"), Some("/api/conversations/{uuid}/messages"), "sending comes first");
    assert_eq!(first("/v1"), Some("/v1/messages"), "sending comes first");
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(
        document["paths"]["/v1/messages"]["post"]["security"],
        json!([{"bearer": ["messages:write"]}])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_has_a_summary_that_fits_into_a_navigation() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();

    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters")
        {
            let summary = operation["summary"].as_str().unwrap();
            assert!(summary.split(' ').count() <= 5 && summary.ends_with('.'), "{method} {path}: {summary}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_document_is_served() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();

    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let path = with_names(path);
            let answer = server.request(&method.to_uppercase(), &path).send().await;
            let code = answer.header("rejoinder-error");
            assert!(!matches!(code, Some("route_not_found" | "method_not_allowed")), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_response_is_described() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();
    let body =
        json!({"assistant_id": ASSISTANT, "type": "widget", "metadata": {}, "external_identifier": "x"});
    let created = server
        .request("POST", "/v1/conversations")
        .bearer(&server.keys.full)
        .raw_json(body.to_string())
        .send()
        .await
        .json();
    let uuid = created["data"]["widget_uuid"].as_str().unwrap().to_owned();
    let reply = server.post_message_body(&uuid, r#"{"message": "Hi"}"#).send().await;
    let turn = reply.header("rejoinder-turn").unwrap().to_owned();
    let get = async |path: &str| {
        server.request("GET", path).bearer(&server.keys.full).send().await.json()["data"].clone()
    };
    let con = created["data"]["id"].as_str().unwrap();
    let conversation = get(&format!("/v1/conversations/{con}")).await;
    let messages = get(&format!("/v1/conversations/{con}/messages")).await;
    let history = server.request("GET", &format!("/api/conversations/{uuid}")).send().await.json();

    let hook = json!({"url": server.tool.url("/hooks"), "description": "x"});
    let post = |path: &str| server.request("POST", path).bearer(&server.keys.full);
    let endpoint = post("/v1/webhook_endpoints").json(&hook).send().await.json()["data"].clone();
    let path = format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().unwrap());
    let tested = post(&format!("{path}/test")).send().await.json()["data"].clone();
    let replayed = post(&format!("{path}/replay")).json(&json!({"after": "0"})).send().await.json();
    server.tool.calls().wait_for_count(1).await;
    let delivery = format!("{path}/deliveries/{}", tested["id"].as_str().unwrap());
    let attempted = async || {
        let delivery_details = get(&delivery).await;
        delivery_details["attempts"].get(0).cloned().map(|attempt| (delivery_details, attempt))
    };
    let (delivery_details, attempt) = wait_for("an attempt", attempted).await;

    let traced = get(&format!("/v1/turns/{turn}")).await;
    let calendar = get("/v1/calendars").await["items"][0].clone();
    let link = format!("/v1/calendars/{}/ics_link", calendar["id"].as_str().unwrap());
    let linked = post(&link).send().await.json()["data"].clone();
    let tools = get("/v1/tools").await["items"].as_array().unwrap().clone();
    let orders = tools.iter().find(|tool| tool["slug"] == "orders").unwrap();
    let tool_path = format!("/v1/tools/{}", orders["id"].as_str().unwrap());
    let tool = get(&tool_path).await;
    let arguments = json!({"arguments": {"order_id": "7"}});
    let called = post(&format!("{tool_path}/test")).json(&arguments).send().await.json()["data"].clone();

    for (sent, schema) in [
        (&calendar, "CalendarOut"),
        (&linked, "LinkedCalendarOut"),
        (&calendar["hours"], "HoursOut"),
        (&endpoint, "EndpointWithSecretOut"),
        (&tool, "ToolOut"),
        (&get("/v1/tools").await["items"][0], "ToolSummaryOut"),
        (&called, "TestCallOut"),
        (&get(&path).await, "EndpointOut"),
        (&delivery_details, "DeliveryDetailsOut"),
        (&attempt, "AttemptOut"),
        (&get(&format!("{path}/deliveries")).await["items"][0], "DeliveryOut"),
        (&replayed["data"], "ReplayOut"),
        (&created["data"], "NewConversation"),
        (&conversation, "Conversation"),
        (&messages["items"][2], "Message"),
        (&reply.json(), "WidgetReply"),
        (&history, "VisitorView"),
        (&history["history"][2], "Entry"),
        (&traced, "TracedTurnOut"),
        (&traced["rounds"][0], "RoundOut"),
        (&traced["totals"], "TotalsOut"),
        (
            &get(&format!("/v1/messages/{}/trace", traced["message_id"].as_str().unwrap())).await,
            "MessageTraceOut",
        ),
        (&get("/v1/ledger").await["items"][1], "LedgerEntryOut"),
        (&get("/v1/events").await["items"][0], "ConversationCreatedEvent"),
        (&get("/v1/balance").await, "BalanceOut"),
    ] {
        let described = properties(&document, schema);
        let sent = keys(sent);
        assert!(sent.is_subset(&described), "{schema}: sent {sent:?}, described {described:?}");
    }
}

/// The examples of a status by their code.
fn examples(document: &Value, method: &str, path: &str, status: u16) -> Vec<(String, Value)> {
    let content = &document["paths"][path][method]["responses"][status.to_string()]["content"];
    let examples = content["application/json"]["examples"].as_object().cloned().unwrap_or_default();
    examples.into_iter().map(|(code, example)| (code, example["value"].clone())).collect()
}

fn named(errors: &[(&str, Value)]) -> Vec<(String, Value)> {
    errors.iter().map(|(code, body)| ((*code).to_owned(), body.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_route_lists_its_errors_as_they_are_sent() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();
    let widget = |text: &str| json!({"status": false, "error": text});
    let statuses = |path: &str, method: &str| {
        let responses = document["paths"][path][method]["responses"].as_object().unwrap();
        responses.keys().cloned().collect::<Vec<_>>().join(" ")
    };

    assert_eq!(
        examples(&document, "post", "/api/conversations/{uuid}/messages", 400),
        named(&[
            ("conversation_busy", widget("Failed to process message: The conversation is busy")),
            (
                "idempotency_key_malformed",
                widget("The Idempotency-Key header must have 1 to 255 printable ASCII characters")
            ),
            ("insufficient_balance", widget("Insufficient balance. Please top up your account.")),
            ("internal_error", widget("Failed to process message: The server failed to process the request")),
            ("model_timeout", widget("Failed to process message: Connection timeout")),
        ])
    );
    assert_eq!(
        examples(&document, "post", "/api/conversations", 404),
        named(&[("assistant_not_found", widget("Assistant not found"))])
    );
    let poor = examples(&document, "post", "/api/conversations", 400);
    assert!(poor.iter().any(|(code, _)| code == "insufficient_balance"), "{poor:?}");
    assert_eq!(statuses("/v1/balance", "get"), "200 401 403 429 500");
    assert_eq!(statuses("/v1/conversations/{id}", "get"), "200 401 403 404 429 500");
    assert_eq!(statuses("/v1/conversations", "post"), "200 400 401 403 404 413 422 429 500");

    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let requirements = operation["security"].as_array().into_iter().flatten();
            // An empty one: the key is optional.
            if requirements.clone().next().is_none() || requirements.clone().any(|one| *one == json!({})) {
                continue;
            }
            let target = with_names(path);
            let answer = server.request(&method.to_uppercase(), &target).send().await;
            let code = answer.header("rejoinder-error").unwrap().to_owned();
            let described = examples(&document, method, path, 401);
            assert_eq!(described, [(code, answer.json())], "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_called_safe_only_where_the_route_reads_the_key() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();

    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters")
        {
            let parameters = operation["parameters"].as_array();
            let reads_key = parameters.into_iter().flatten().any(|found| found["name"] == "Idempotency-Key");
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses {
                let text = response["description"].as_str().unwrap();
                if text.contains("may have been carried out") {
                    assert_eq!(
                        text.contains("Idempotency-Key"),
                        reads_key,
                        "{method} {path} {status}: {text}"
                    );
                }
                if text.contains("see Retry-After") {
                    assert!(response["headers"]["Retry-After"].is_object(), "{method} {path} {status}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_is_required_exactly_if_a_request_without_it_is_refused() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();
    let con = server.conversation_id(WIDGET).await;
    let sent = json!({"conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi"});
    let sent = server.enqueue(sent.to_string()).send().await.json();

    for (schema, method, path, body) in [
        ("WidgetMessage", "POST", format!("/api/conversations/{WIDGET}/messages"), json!({"message": "Hi"})),
        (
            "WidgetConversation",
            "POST",
            "/api/conversations".to_owned(),
            json!({"assistant_id": ASSISTANT, "type": "test", "variables": {"name": "Ada"}}),
        ),
        (
            "MessageIn",
            "POST",
            "/v1/messages".to_owned(),
            json!({
                "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi",
                "reply_to_message_id": sent["data"]["message"]["id"], "metadata": {}, "auto_reply": false,
            }),
        ),
        (
            "ConversationIn",
            "POST",
            "/v1/conversations".to_owned(),
            json!({
                "assistant_id": ASSISTANT, "type": "api", "variables": {}, "external_identifier": "x",
                "metadata": {},
            }),
        ),
        (
            "ConversationChange",
            "PATCH",
            format!("/v1/conversations/{con}"),
            json!({"ai_enabled": true, "metadata": {}, "ended": true}),
        ),
        (
            "WebhookEndpointIn",
            "POST",
            "/v1/webhook_endpoints".to_owned(),
            json!({
                "url": "https://crm.example/hooks", "types": [], "description": "x",
                "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            }),
        ),
    ] {
        assert_eq!(properties(&document, schema), keys(&body), "{schema}");
        let required = document["components"]["schemas"][schema]["required"].as_array().cloned();
        for field in keys(&body) {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(&field);
            let request = server.request(method, &path).bearer(&server.keys.full).json(&without);
            let answer = request.send().await;
            let is_required = required.iter().flatten().any(|name| *name == *field);
            assert_eq!(answer.status != 200, is_required, "{schema} without {field}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_cursor_is_always_present_and_null_only_on_the_last_page() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();

    let pages = [
        "Conversation",
        "Message",
        "LedgerEntryOut",
        "EndpointOut",
        "DeliveryOut",
        "ToolSummaryOut",
        "KnowledgeBase",
        "DocumentOut",
        "CalendarOut",
        "BookingOut",
    ];
    let schemas = &document["components"]["schemas"];
    let pages = pages.map(|item| (item, &schemas[format!("Success_Page_{item}")]["properties"]["data"]));
    for (page, schema) in pages.into_iter().chain([("Events", &schemas["Events"])]) {
        assert_eq!(schema["required"], json!(["items", "next_cursor"]), "{page}");
        let expected = if page == "Events" { json!("string") } else { json!(["string", "null"]) };
        assert_eq!(schema["properties"]["next_cursor"]["type"], expected, "{page}");
    }
}

/// All operations, those of webhooks too, with their names.
fn operations() -> impl Iterator<Item = (String, &'static Value)> {
    let items = ["paths", "webhooks"].into_iter().flat_map(|key| document()[key].as_object().unwrap());
    items.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters");
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

/// The objects, arrays and values of a schema, with their paths.
fn schemas<'a>(path: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    found.push((path.to_owned(), schema));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        schemas(&format!("{path}.{name}"), property, found);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for part in schema[key].as_array().into_iter().flatten() {
            schemas(path, part, found);
        }
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            schemas(&format!("{path}[]"), &schema[key], found);
        }
    }
}

/// All schemas of the document: components, parameters, bodies, responses and headers.
fn all_schemas() -> Vec<(String, &'static Value)> {
    let mut found = Vec::new();
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        schemas(name, schema, &mut found);
    }
    for (name, operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let path = format!("{name} {}", parameter["name"].as_str().unwrap());
            schemas(&path, &parameter["schema"], &mut found);
        }
        let responses = operation["responses"].as_object().into_iter().flatten();
        for part in responses.map(|(_, response)| response).chain([&operation["requestBody"]]) {
            for (kind, content) in part["content"].as_object().into_iter().flatten() {
                schemas(&format!("{name} {kind}"), &content["schema"], &mut found);
            }
        }
    }
    found
}

/// The schema that a reference leads to.
fn resolved(schema: &'static Value) -> &'static Value {
    let reference = schema["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
    reference.map_or(schema, |pointer| document().pointer(pointer).expect("a reference leads somewhere"))
}

#[test]
fn every_operation_has_an_id_a_scope_and_typed_errors() {
    let mut ids = BTreeSet::new();
    for (name, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(ids.insert(id), "{id} is the id of two operations");
        let requirements = operation["security"].as_array().unwrap_or_else(|| panic!("{name}: no security"));
        let scopes: Vec<_> = requirements.iter().filter_map(|one| one["bearer"][0].as_str()).collect();
        for scope in &scopes {
            assert!(operation["description"].as_str().unwrap().contains(&format!("`{scope}`")), "{name}");
        }
        let needs_key = !requirements.is_empty() && !requirements.contains(&json!({}));
        assert!(scopes.len() == 1 || !needs_key, "{name} needs a key, and names no scope");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let is_ours = !name.contains(' ') || name.contains('/');
            if status.as_str() < "400" || !is_ours {
                continue;
            }
            let schema = &response["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{name} {status} has no schema");
            let codes = &response["headers"]["Rejoinder-Error"]["schema"]["enum"];
            assert!(codes.as_array().is_some_and(|codes| !codes.is_empty()), "{name} {status} has no codes");
            assert!(response["headers"]["RateLimit"].is_object(), "{name} {status} has no limits");
        }
    }
}

#[test]
fn closed_sets_list_their_words_and_ids_have_their_form() {
    let closed =
        ["state", "type", "kind", "api", "sender_type", "role", "currency", "status", "format", "language"];
    // A response of another server, its model and its web address have what they have.
    let foreign = ["ReceivedResponseOut", "AttemptOut.status", "ModelError", "MessagePart", "TestCallOut"];
    for (path, schema) in all_schemas() {
        let Some((_, name)) = path.rsplit_once(['.', ' ']) else { continue };
        if foreign.iter().any(|foreign| path.starts_with(foreign)) {
            continue;
        }
        let target = resolved(schema);
        if closed.contains(&name) && target["type"] == "string" {
            assert!(target["enum"].is_array(), "{path} is a closed set without its words: {target}");
        }
        let is_id = (name == "id" || name.ends_with("_id")) && target["type"] == "string";
        let is_foreign_id = ["sender_id", "ChatRequest.id", "CallOut.id", "CancelRequest.turn_id"];
        let is_chunk = path.starts_with("UiMessageChunk");
        if is_id && !is_chunk && !is_foreign_id.iter().any(|foreign| path.ends_with(foreign)) {
            let has_form = target["pattern"].is_string() || target["format"] == "uuid";
            assert!(has_form, "{path} is an id without its form: {target}");
        }
        if name.ends_with("_at") || name.ends_with("_since") || name.ends_with("_until") {
            assert_eq!(target["format"], "date-time", "{path}: {target}");
        }
    }
}

#[test]
fn a_field_that_may_be_absent_from_a_response_is_never_null() {
    for (path, schema) in all_schemas() {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let is_request = schema["additionalProperties"] == false || path.contains("In");
        let is_response = path.contains("Out") && !is_request;
        for (name, property) in schema["properties"].as_object().into_iter().flatten().filter(|_| is_response)
        {
            let is_null = |schema: &Value| {
                schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null")))
            };
            assert!(required.contains(&json!(name)) || !is_null(property), "{path}.{name}: {property}");
        }
    }
}

#[test]
fn the_examples_of_the_document_match_their_schemas() {
    for (path, schema) in all_schemas() {
        if let Some(example) = schema.get("example") {
            assert_valid(&path, &validator(schema), example);
        }
    }
    for (name, operation) in operations() {
        let responses = operation["responses"].as_object().into_iter().flatten();
        for part in responses.map(|(_, response)| response).chain([&operation["requestBody"]]) {
            for (kind, content) in part["content"].as_object().into_iter().flatten() {
                let named = content["examples"].as_object().into_iter().flatten();
                let examples = named.map(|(_, example)| &example["value"]).chain(content.get("example"));
                let validator = validator(&content["schema"]);
                for example in examples {
                    assert_valid(&format!("{name} {kind}"), &validator, example);
                }
            }
        }
    }
}

#[test]
fn each_event_is_told_by_its_type() {
    let event = &document()["components"]["schemas"]["Event"];
    let mapping = event["discriminator"]["mapping"].as_object().unwrap();
    assert_eq!(event["discriminator"]["propertyName"], "type");
    for kind in rejoinder::domain::event::EventType::ALL {
        let reference = mapping[kind.as_str()].as_str().unwrap();
        let variant = document().pointer(reference.trim_start_matches('#')).unwrap();
        assert_eq!(variant["properties"]["type"]["enum"], json!([kind.as_str()]));
        assert_eq!(variant["required"], json!(["id", "type", "created_at", "cursor"]), "data may be absent");
        let webhook = &document()["webhooks"][kind.as_str()]["post"];
        assert_eq!(webhook["requestBody"]["content"]["application/json"]["schema"]["$ref"], reference);
    }
    assert_eq!(event["oneOf"].as_array().unwrap().len(), mapping.len());
}

/// What the schema of a request's body refuses the server refuses, and the reverse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_accepts_exactly_what_the_schemas_of_bodies_do() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let con = server.conversation_id(WIDGET).await;
    let post = |path: &str| server.request("POST", path).bearer(&server.keys.full);
    let hook = json!({"url": "https://crm.example/hooks"});
    let endpoint = post("/v1/webhook_endpoints").json(&hook).send().await.json()["data"].clone();
    let endpoint = format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().unwrap());
    let message = |change: Value| {
        let mut body = json!({"conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ("MessageIn", "POST", "/v1/messages".to_owned(), body)
    };
    let on_endpoint = |body: Value| ("WebhookEndpointChange", "PATCH", endpoint.clone(), body);
    let replay = |body: Value| ("WebhookReplay", "POST", format!("{endpoint}/replay"), body);
    let rotate = |body: Value| ("SecretRotation", "POST", format!("{endpoint}/rotate_secret"), body);
    let on_conversation =
        |body: Value| ("ConversationChange", "PATCH", format!("/v1/conversations/{con}"), body);
    let secret = |bytes: usize| format!("whsec_{}", base64(&vec![7; bytes]));

    for (schema, method, path, body) in [
        message(json!({})),
        message(json!({"metadata": null, "auto_reply": null, "reply_to_message_id": null})),
        message(json!({"text": null})),
        message(json!({"text": " \u{2003}\n"})),
        message(json!({"text": "a\u{0}"})),
        message(json!({"text": "x".repeat(10_000)})),
        message(json!({"text": "x".repeat(10_001)})),
        message(json!({"sender_id": " "})),
        message(json!({"sender_type": "assistant"})),
        message(json!({"conversation_id": "x"})),
        message(json!({"metadata": []})),
        on_endpoint(json!({})),
        on_endpoint(json!({"url": null})),
        on_endpoint(json!({"url": null, "description": " "})),
        on_endpoint(json!({"types": ["message.created", "webhook_endpoint.test"]})),
        on_endpoint(json!({"types": ["message.created"]})),
        on_endpoint(json!({"url": "ftp://crm.example"})),
        on_endpoint(json!({"enabled": "true"})),
        on_endpoint(json!({"enable": true})),
        replay(json!({})),
        replay(json!({"after": "0"})),
        replay(json!({"after": "0", "since": null})),
        replay(json!({"after": "x"})),
        replay(json!({"since": "2026-03-15T14:00:00Z", "after": null, "types": []})),
        replay(json!({"since": "2026-03-15T14:00:00Z", "after": "0"})),
        replay(json!({"since": "yesterday"})),
        rotate(json!({"secret": secret(23)})),
        rotate(json!({"secret": secret(24)})),
        rotate(json!({"secret": secret(25)})),
        rotate(json!({"secret": secret(26)})),
        rotate(json!({"secret": secret(63)})),
        rotate(json!({"secret": secret(64)})),
        rotate(json!({"secret": secret(65)})),
        rotate(json!({"secret": secret(25).trim_end_matches('=')})),
        rotate(json!({"secret": "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd"})),
        on_conversation(json!({"metadata": null})),
        on_conversation(json!({"ended": false})),
        on_conversation(json!({"ai_enabled": true, "ended": null})),
        on_conversation(json!({"metadata": {"any": [1, null]}})),
    ] {
        let described = &document()["components"]["schemas"][schema];
        let is_valid = validator(described).is_valid(&body);
        let answer = server.request(method, &path).bearer(&server.keys.full).json(&body).send().await;
        assert_eq!(answer.status == 200, is_valid, "{method} {path} {body}: {}", answer.text());
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}
