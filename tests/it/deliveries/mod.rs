//! Webhooks as their receivers see them: each event at least once, signed, in order, whatever dies or hangs.

mod crash_recovery;
mod order;
mod ownership;
mod responses;
mod sending;

use serde_json::json;

use crate::support::server::TestServer;

/// Stores a message that asks for no reply in a conversation (`con_…`), or in a new one; the conversation.
pub async fn store(server: &TestServer, conversation: Option<&str>, text: &str) -> String {
    let mut body = json!({ "sender_id": "u", "sender_type": "user", "text": text, "auto_reply": false });
    if let Some(conversation) = conversation {
        body["conversation_id"] = json!(conversation);
    }
    let answer = server.enqueue(body.to_string()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"]["conversation_id"].as_str().unwrap().to_owned()
}

/// Waits until no delivery is open.
pub async fn all_ended(server: &TestServer) {
    const OPEN: &str = "select count(*) from deliveries where state in ('queued', 'running')";
    let none = async || (server.number(OPEN).await == 0).then_some(());
    crate::support::wait::wait_for("all deliveries to end", none).await;
}
