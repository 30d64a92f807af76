//! The running reply when a person takes over, the conversation ends, or the visitor disconnects.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{TEST, TestServer, WIDGET};

const AI_OFF: &str = r#"{"status":true,"message":"","function_calls":[],"ai_disabled":true}"#;
const ENDED: &str = r#"{"status":false,"error":"Failed to process message: The conversation has ended"}"#;

/// A server whose model answers when the gate opens.
async fn start_with_held_reply(db: &crate::support::db::TestDb) -> (TestServer, Gate) {
    let server = TestServer::start(db).await;
    let gate = Gate::closed();
    server.model.script().queue([Reply::text("Too late.").gated_by(&gate)]);
    (server, gate)
}

async fn patch(server: &TestServer, con: &str, body: &serde_json::Value) -> Response {
    let path = format!("/v1/conversations/{con}");
    server.request("PATCH", &path).bearer(&server.keys.full).json(body).send().await
}

both_backends!(
    async fn disabling_the_ai_discards_and_refunds_the_running_reply(db: TestDb) {
        let (server, gate) = start_with_held_reply(&db).await;
        let con = server.conversation_id(WIDGET).await;

        let (answer, ()) = tokio::join!(server.post_message(WIDGET, "Hi").send(), async {
            server.model.calls().wait_for_count(1).await;
            let path = format!("/api/automate/conversations/{WIDGET}/disable-ai");
            let off = server.request("POST", &path).bearer(&server.keys.full).send().await;
            assert_eq!(off.text(), r#"{"status":true,"ai_enabled":false}"#);
        });
        gate.open();
        let later = server.post_message(WIDGET, "Are you there?").send().await;

        assert_eq!((answer.status, answer.text()), (200, AI_OFF));
        assert_eq!((later.status, later.text()), (200, AI_OFF));
        assert_eq!(server.balance().await, "10.00");
        let discarded = server.wait_for_events("reply.discarded", 1).await;
        assert_eq!(discarded[0]["data"]["reason"], "ai_disabled");
        assert_eq!(server.messages(&con).await.len(), 3, "both messages are stored, and no reply");
        assert_eq!(server.model.calls().all().len(), 1);
    }
);

both_backends!(
    async fn the_ai_answers_new_messages_after_it_is_enabled_again(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(TEST).await;

        let off = patch(&server, &con, &json!({ "ai_enabled": false })).await;
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });
        let unanswered = server.enqueue(body.to_string()).send().await;
        patch(&server, &con, &json!({ "ai_enabled": true })).await;
        let answered = server.post_message(TEST, "Hi again").send().await;

        assert_eq!(off.json()["data"]["ai_enabled"], false);
        assert_eq!(unanswered.json()["data"]["auto_reply_enqueued"], false);
        assert_eq!(unanswered.header("rejoinder-reason"), Some("ai_disabled"));
        assert_eq!(answered.json()["message"], "A reply of the fake model.");
        assert_eq!(server.events("conversation.updated").await.len(), 2);
    }
);

both_backends!(
    async fn an_agent_message_disables_the_ai_if_the_assistant_is_configured_so(db: TestDb) {
        let pausing = |text: String| {
            text.replacen("first_message =", "pause_on_agent_message = true\nfirst_message =", 1)
        };
        let server = crate::support::server::Setup::default().workspace(pausing).start(&db).await;
        let con = server.conversation_id(TEST).await;
        let body = json!({ "conversation_id": con, "sender_id": "a", "sender_type": "agent", "text": "Hi" });

        let agent = server.enqueue(body.to_string()).send().await;
        let visitor = server.post_message(TEST, "Hello?").send().await;

        assert_eq!(agent.json()["data"]["auto_reply_enqueued"], false);
        assert_eq!(agent.header("rejoinder-reason"), Some("ai_disabled"));
        assert_eq!(visitor.text(), AI_OFF);
    }
);

both_backends!(
    async fn ending_a_conversation_discards_the_reply_and_refuses_later_messages(db: TestDb) {
        let (server, gate) = start_with_held_reply(&db).await;
        let con = server.conversation_id(WIDGET).await;

        let (answer, ()) = tokio::join!(server.post_message(WIDGET, "Hi").send(), async {
            server.model.calls().wait_for_count(1).await;
            assert_eq!(patch(&server, &con, &json!({ "ended": true })).await.status, 200);
        });
        gate.open();
        let before = server.row_counts().await;
        let later = server.post_message(WIDGET, "Hello?").send().await;

        assert_eq!((answer.status, answer.text()), (400, ENDED));
        assert_eq!((later.status, later.text()), (400, ENDED));
        assert_eq!(later.header("rejoinder-error"), Some("conversation_ended"));
        assert_eq!(server.balance().await, "10.00");
        assert_eq!(server.wait_for_events("conversation.ended", 1).await.len(), 1);
        assert_eq!(
            server.wait_for_events("reply.discarded", 1).await[0]["data"]["reason"],
            "conversation_ended"
        );
        assert_eq!(server.row_counts().await, before, "a refused message stores nothing");
    }
);

both_backends!(
    async fn the_reply_to_a_disconnected_visitor_is_in_the_history(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Still here.").gated_by(&gate)]);
        let con = server.conversation_id(WIDGET).await;

        tokio::select! {
            answer = server.post_message(WIDGET, "Hi").send() => panic!("the model waits: {answer:?}"),
            _ = server.model.calls().wait_for_count(1) => {}
        }
        gate.open();
        server.wait_for_messages(&con, 3).await;

        let history = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await.json();
        let last = history["history"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["role"], &last["content"]), (&json!("assistant"), &json!("Still here.")));
        assert_eq!(server.balance().await, "9.99");
    }
);
