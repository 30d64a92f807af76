//! The types of the `OpenAPI` document: closed sets, forms of ids, examples, events, and bodies compared with what the server accepts.
//! The test client compares each response with it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::described::{assert_valid, document, validator};
use crate::support::server::{TestServer, WIDGET};
use crate::support::store;

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
        // Any key may ask what it is, and an operator's key has no scopes.
        let is_any = id == "readMe" || requirements.iter().any(|one| one["operator"].is_array());
        let needs_key = !is_any && !requirements.is_empty() && !requirements.contains(&json!({}));
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
    // A response of another server, its model and its web address have what they have, and the audit log the objects of any version.
    let foreign = [
        "AuditEntry.object",
        "ReceivedResponse",
        "DeliveryAttempt.status",
        "ModelError",
        "MessagePart",
        "TestCallResult",
    ];
    for (path, schema) in all_schemas() {
        let Some((_, name)) = path.rsplit_once(['.', ' ']) else { continue };
        // The prices of the APIs are amounts.
        if path.contains(".pricing.") || foreign.iter().any(|foreign| path.starts_with(foreign)) {
            continue;
        }
        let target = resolved(schema);
        if closed.contains(&name) && target["type"] == "string" {
            assert!(target["enum"].is_array(), "{path} is a closed set without its words: {target}");
        }
        let is_id = (name == "id" || name.ends_with("_id")) && target["type"] == "string";
        let is_foreign_id = [
            "sender_id",
            "object_id",
            "request_id",
            "AuditEntry.actor.id",
            "ChatRequest.id",
            "TurnCall.id",
            "CancelRequest.turn_id",
            "StartMetadata.conversation_id",
        ];
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
    let tolerant = ["NewMessage", "NewWidgetConversation", "WidgetMessage", "CancelRequest", "ChatRequest"];
    for (path, schema) in all_schemas() {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let is_request = schema["additionalProperties"] == false
            || tolerant.iter().any(|request| path.starts_with(request));
        for (name, property) in schema["properties"].as_object().into_iter().flatten().filter(|_| !is_request)
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
        let listed = schema["examples"].as_array().into_iter().flatten();
        for example in listed.chain(schema.get("example")) {
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
        let always =
            ["balance.low", "conversation.deleted", "webhook_endpoint.disabled", "webhook_endpoint.test"];
        let required = ["id", "type", "created_at", "cursor"].into_iter();
        let required: Vec<_> = required.chain(always.contains(&kind.as_str()).then_some("data")).collect();
        assert_eq!(
            variant["required"],
            json!(required),
            "data may be absent if the event has a conversation"
        );
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
        ("NewMessage", "POST", "/v1/messages".to_owned(), body)
    };
    let on_endpoint = |body: Value| ("WebhookEndpointUpdate", "PATCH", endpoint.clone(), body);
    let replay = |body: Value| ("WebhookReplay", "POST", format!("{endpoint}/replay"), body);
    let rotate = |body: Value| ("SecretRotation", "POST", format!("{endpoint}/rotate_secret"), body);
    let on_conversation =
        |body: Value| ("ConversationUpdate", "PATCH", format!("/v1/conversations/{con}"), body);
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
