//! The `OpenAPI` document, compared with real responses.

use std::collections::BTreeSet;

use crate::support::described::{operations, with_responses};
use crate::support::identity;
use crate::support::server::{ASSISTANT, Setup, TestServer, WIDGET};
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
        let referred =
            part["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"));
        names.extend(referred.into_iter().flat_map(|name| properties(document, name)));
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

    for (method, path, operation) in operations(&document) {
        let summary = operation["summary"].as_str().unwrap();
        assert!(summary.split(' ').count() <= 5 && summary.ends_with('.'), "{method} {path}: {summary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_document_is_served() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.request("GET", "/openapi.json").send().await.json();

    for (method, path, _) in operations(&document) {
        let answer = server.request(&method, &with_names(path)).send().await;
        let code = answer.header("rejoinder-error");
        assert!(!matches!(code, Some("route_not_found" | "method_not_allowed")), "{method} {path}");
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
        (&calendar, "Calendar"),
        (&linked, "LinkedCalendar"),
        (&calendar["hours"], "OpeningHours"),
        (&endpoint, "WebhookEndpointWithSecret"),
        (&tool, "Tool"),
        (&get("/v1/tools").await["items"][0], "ToolSummary"),
        (&called, "TestCallResult"),
        (&get(&path).await, "WebhookEndpoint"),
        (&delivery_details, "DeliveryDetails"),
        (&attempt, "DeliveryAttempt"),
        (&get(&format!("{path}/deliveries")).await["items"][0], "Delivery"),
        (&replayed["data"], "WebhookReplayResult"),
        (&created["data"], "CreatedConversation"),
        (&conversation, "Conversation"),
        (&messages["items"][2], "Message"),
        (&reply.json(), "WidgetReply"),
        (&history, "VisitorView"),
        (&history["history"][2], "Entry"),
        (&traced, "TracedTurn"),
        (&traced["rounds"][0], "TurnRound"),
        (&traced["totals"], "TurnTotals"),
        (
            &get(&format!("/v1/messages/{}/trace", traced["message_id"].as_str().unwrap())).await,
            "MessageTrace",
        ),
        (&get("/v1/ledger").await["items"][1], "LedgerEntry"),
        (&get("/v1/events").await["items"][0], "ConversationCreatedEvent"),
        (&get("/v1/balance").await, "Balance"),
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
    let document = with_responses(server.request("GET", "/openapi.json").send().await.json());
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
    assert_eq!(statuses("/v1/balance", "get"), "200 400 401 403 429 500");
    assert_eq!(statuses("/v1/conversations/{id}", "get"), "200 400 401 403 404 429 500");
    assert_eq!(statuses("/v1/conversations", "post"), "200 400 401 403 404 413 422 429 500");

    for (method, path, operation) in operations(&document) {
        let requirements = operation["security"].as_array().into_iter().flatten();
        // An empty one: the key is optional.
        if requirements.clone().next().is_none() || requirements.clone().any(|one| *one == json!({})) {
            continue;
        }
        let answer = server.request(&method, &with_names(path)).send().await;
        let code = answer.header("rejoinder-error").unwrap().to_owned();
        let described = examples(&document, &method.to_ascii_lowercase(), path, 401);
        assert_eq!(described, [(code, answer.json())], "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_called_safe_only_where_the_route_reads_the_key() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = with_responses(server.request("GET", "/openapi.json").send().await.json());

    for (method, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array();
        let reads_key = parameters.into_iter().flatten().any(|found| found["name"] == "Idempotency-Key");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let text = response["description"].as_str().unwrap();
            if text.contains("may have been carried out") {
                let names_key = text.contains("Idempotency-Key");
                assert_eq!(names_key, reads_key, "{method} {path} {status}: {text}");
            }
            if text.contains("see Retry-After") {
                assert!(response["headers"]["Retry-After"].is_object(), "{method} {path} {status}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_is_required_exactly_if_a_request_without_it_is_refused() {
    let db = store::sqlite().await;
    let secret = "name = \"Front desk\"\nidentity_secrets = [{ env = \"IDENTITY\" }]";
    let edit = move |text: String| text.replace("name = \"Front desk\"", secret);
    let server = Setup::default().workspace(edit).start(&db).await;
    let token = identity::token(&identity::claims("ada"));
    let document = server.request("GET", "/openapi.json").send().await.json();
    let con = server.conversation_id(WIDGET).await;
    let sent = json!({"conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi"});
    let sent = server.enqueue(sent.to_string()).send().await.json();

    for (schema, method, path, body) in [
        ("WidgetMessage", "POST", format!("/api/conversations/{WIDGET}/messages"), json!({"message": "Hi"})),
        (
            "NewWidgetConversation",
            "POST",
            "/api/conversations".to_owned(),
            json!({
                "assistant_id": ASSISTANT, "type": "test", "variables": {"name": "Ada"}, "identity_token": token,
            }),
        ),
        (
            "NewMessage",
            "POST",
            "/v1/messages".to_owned(),
            json!({
                "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi",
                "reply_to_message_id": sent["data"]["message"]["id"], "metadata": {}, "auto_reply": false,
            }),
        ),
        (
            "NewConversation",
            "POST",
            "/v1/conversations".to_owned(),
            json!({
                "assistant_id": ASSISTANT, "type": "api", "variables": {}, "external_identifier": "x",
                "metadata": {},
            }),
        ),
        (
            "ConversationUpdate",
            "PATCH",
            format!("/v1/conversations/{con}"),
            json!({"ai_enabled": true, "metadata": {}, "ended": true}),
        ),
        (
            "NewWebhookEndpoint",
            "POST",
            "/v1/webhook_endpoints".to_owned(),
            json!({
                "url": "https://crm.example/hooks", "types": [], "description": "x",
                "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "enabled": true,
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
        "LedgerEntry",
        "WebhookEndpoint",
        "Delivery",
        "ToolSummary",
        "KnowledgeBase",
        "Document",
        "Calendar",
        "Booking",
    ];
    let schemas = &document["components"]["schemas"];
    let pages = pages.map(|item| (item, &schemas[format!("Success_Page_{item}")]["properties"]["data"]));
    for (page, schema) in pages.into_iter().chain([("Events", &schemas["Events"])]) {
        assert_eq!(schema["required"], json!(["items", "next_cursor"]), "{page}");
        let expected = if page == "Events" { json!("string") } else { json!(["string", "null"]) };
        assert_eq!(schema["properties"]["next_cursor"]["type"], expected, "{page}");
    }
}
