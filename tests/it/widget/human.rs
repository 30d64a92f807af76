//! What a person of the company does, through the platform API.

use serde_json::{Value, json};

use crate::support::server::TestServer;

/// Writes a message to the visitor.
pub(super) async fn write(server: &TestServer, con: &str, text: &str) {
    let message = json!({
        "conversation_id": con, "sender_id": "ada", "sender_type": "agent", "text": text, "auto_reply": false,
    });
    let sent = server.enqueue(message.to_string()).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
}

/// Begins or ceases to type.
pub(super) async fn types(server: &TestServer, con: &str, is_typing: bool) {
    let path = format!("/v1/conversations/{con}/typing");
    let body = json!({ "typing": is_typing });
    let typed = server.request("POST", &path).bearer(&server.keys.full).json(&body).send().await;
    assert_eq!(typed.status, 200, "{}", typed.text());
}

/// Changes the conversation, such as whether its AI answers.
pub(super) async fn change(server: &TestServer, con: &str, fields: &Value) {
    let path = format!("/v1/conversations/{con}");
    let changed = server.request("PATCH", &path).bearer(&server.keys.full).json(fields).send().await;
    assert_eq!(changed.status, 200, "{}", changed.text());
}
