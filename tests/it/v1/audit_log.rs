//! The entries of the audit log that changes through the platform API write.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::db::{TestDb, both_backends};
use crate::support::described::operations;
use crate::support::http::Response;
use crate::support::seed;
use crate::support::server::TestServer;

/// The operations that write an entry if they change anything.
const AUDITED: [&str; 34] = [
    "archiveAssistant",
    "archiveCalendar",
    "archiveTool",
    "cancelBooking",
    "createAssistant",
    "createBooking",
    "createCalendar",
    "createDocument",
    "createErasure",
    "createIdentitySecret",
    "createKey",
    "createKnowledgeBase",
    "createTool",
    "createWebhookEndpoint",
    "deleteConversation",
    "deleteDocument",
    "deleteIdentitySecret",
    "deleteKnowledgeBase",
    "deleteWebhookEndpoint",
    "eraseBooking",
    "putDocument",
    "refreshTool",
    "removeCalendarLink",
    "renewCalendarLink",
    "restoreAssistantVersion",
    "revokeKey",
    "rollKey",
    "rotateWebhookSecret",
    "updateAssistant",
    "updateCalendar",
    "updateKnowledgeBase",
    "updateOwnWorkspace",
    "updateTool",
    "updateWebhookEndpoint",
];

/// The operations that change nothing that is audited, and the reasons.
const NOT_AUDITED: [(&str, &str); 12] = [
    ("cancelTurn", "turns are not audited"),
    ("createConversation", "conversations are not audited until they are exported or deleted"),
    ("renewWidgetLink", "a link belongs to its conversation"),
    ("replayEvents", "sends again what was sent before"),
    ("resendDelivery", "sends again what was sent before"),
    ("retryTurn", "turns are not audited"),
    ("searchKnowledgeBase", "reads"),
    ("sendMessage", "messages are not audited"),
    ("showTyping", "is not kept"),
    ("testTool", "calls the tool, and changes nothing"),
    ("testWebhookEndpoint", "sends a test, and changes nothing"),
    ("updateConversation", "conversations are not audited until they are exported or deleted"),
];

/// The operations of `/v1` that may change something.
async fn mutating_operations(server: &TestServer) -> BTreeSet<String> {
    let document = server.request("GET", "/openapi.json").send().await.json();
    let mutating =
        operations(&document).filter(|(method, path, _)| method != "GET" && path.starts_with("/v1/"));
    mutating.map(|(.., operation)| operation["operationId"].as_str().unwrap().to_owned()).collect()
}

both_backends!(
    async fn each_operation_is_audited_or_has_a_reason_not_to_be(db: TestDb) {
        let server = TestServer::start(&db).await;

        let mut known: BTreeSet<_> = AUDITED.map(str::to_owned).into();
        known.extend(NOT_AUDITED.map(|(operation, _)| operation.to_owned()));

        assert_eq!(mutating_operations(&server).await, known);
    }
);

async fn ask(server: &TestServer, method: &str, path: &str, body: Value) -> Response {
    let answer = server.request(method, path).bearer(&server.keys.full).json(&body).send().await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer
}

fn id_of(answer: &Response) -> String {
    answer.json()["data"]["id"].as_str().unwrap().to_owned()
}

/// The entries of changes by API keys: their action, object, route and fields. Their order is not known, because the clock stands still.
async fn entries(db: &TestDb) -> Vec<Value> {
    let select = "select action || '|' || object_kind || '|' || object_id || '|' || coalesce(route, '') || '|' || \
        coalesce(fields_before, 'null') || '|' || coalesce(fields_after, 'null') \
        from audit_log where actor_kind = 'key'";
    let rows = seed::query_texts(db, select).await;
    let entry = |row: &String| {
        let parts: Vec<_> = row.splitn(6, '|').collect();
        let fields = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        json!({
            "action": parts[0], "kind": parts[1], "id": parts[2], "route": parts[3],
            "before": fields(parts[4]), "after": fields(parts[5]),
        })
    };
    rows.iter().map(entry).collect()
}

both_backends!(
    async fn changes_of_an_endpoint_are_audited_without_its_secret(db: TestDb) {
        let server = TestServer::start(&db).await;
        let secret = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

        let body = json!({"url": "https://crm.example/hooks", "description": "CRM", "secret": secret});
        let id = id_of(&ask(&server, "POST", "/v1/webhook_endpoints", body).await);
        let path = format!("/v1/webhook_endpoints/{id}");
        ask(&server, "PATCH", &path, json!({"enabled": false})).await;
        // Changes nothing.
        ask(&server, "PATCH", &path, json!({"enabled": false})).await;
        ask(&server, "POST", &format!("{path}/rotate_secret"), json!({})).await;
        ask(&server, "DELETE", &path, json!({})).await;

        let log = entries(&db).await;
        let mut actions: Vec<_> = log.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        actions.sort_unstable();
        assert_eq!(actions, ["created", "deleted", "rotated", "updated"]);
        assert!(log.iter().all(|entry| entry["kind"] == "webhook_endpoint" && entry["id"] == id.as_str()));
        let entry = |action: &str| log.iter().find(|entry| entry["action"] == action).unwrap();
        assert_eq!(entry("created")["route"], "POST /v1/webhook_endpoints");
        assert_eq!(entry("created")["before"], Value::Null);
        assert_eq!(entry("created")["after"]["url"], "https://crm.example/hooks");
        assert_eq!(entry("updated")["route"], "PATCH /v1/webhook_endpoints/{id}");
        assert_eq!(entry("updated")["before"], json!({"enabled": true, "disabled_reason": null}));
        assert_eq!(entry("updated")["after"], json!({"enabled": false, "disabled_reason": "api"}));
        assert_eq!(entry("rotated")["after"]["secret"], "***");
        assert_eq!(entry("deleted")["after"], json!({"archived": true}));
        let text = Value::from(log.clone()).to_string();
        assert!(!text.contains("whsec_") && !text.contains("sealed"), "{text}");
    }
);

both_backends!(
    async fn a_refused_change_is_not_audited(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({"url": "https://crm.example/hooks"});
        let id = id_of(&ask(&server, "POST", "/v1/webhook_endpoints", body).await);

        let path = format!("/v1/webhook_endpoints/{id}");
        let foreign = server.request("DELETE", &path).bearer(&server.keys.other_workspace).send().await;
        let read_only = server.request("DELETE", &path).bearer(&server.keys.read_only).send().await;
        let invalid = server.request("PATCH", &path).bearer(&server.keys.full);
        let invalid = invalid.json(&json!({"url": "ftp://crm.example"})).send().await;

        assert_eq!((foreign.status, read_only.status, invalid.status), (404, 403, 400));
        assert_eq!(entries(&db).await.len(), 1);
    }
);
