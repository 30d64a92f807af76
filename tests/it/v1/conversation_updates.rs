//! Updates of a conversation: all fields of a request are applied, or none.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_model::Reply;
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{ASSISTANT, TestServer};

async fn widget(server: &TestServer) -> Value {
    let body = json!({"assistant_id": ASSISTANT, "type": "widget"});
    let created =
        server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body).send().await;
    created.json()["data"].clone()
}

async fn change(server: &TestServer, id: &str, body: &str) -> Response {
    let path = format!("/v1/conversations/{id}");
    server.request("PATCH", &path).bearer(&server.keys.full).raw_json(body).send().await
}

both_backends!(
    async fn a_conversation_can_be_updated_and_ended(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let created = widget(&server).await;
        let (id, uuid) = (created["id"].as_str().unwrap(), created["widget_uuid"].as_str().unwrap());
        let change = async |body: &str| change(&server, id, body).await;

        let off = change(r#"{"ai_enabled": false}"#).await.json();
        let ended = change(r#"{"ai_enabled": true, "ended": true}"#).await.json();
        let response = server.post_message_body(uuid, r#"{"message": "Hi"}"#).send().await;

        assert_eq!(off["data"]["ai_enabled"], false);
        assert_eq!(
            (&ended["data"]["ai_enabled"], &ended["data"]["ended_at"]),
            (&json!(true), &json!("2026-03-15T14:22:11Z"))
        );
        let expected = r#"{"status":false,"error":"Failed to process message: The conversation has ended"}"#;
        assert_eq!((response.status, response.text()), (400, expected));
        for body in ["{}", r#"{"ended": false}"#, r#"{"ai_enabled": "no"}"#] {
            assert_eq!(change(body).await.status, 400, "{body}");
        }
        let late =
            json!({"conversation_id": id, "sender_id": "u", "sender_type": "user", "text": "Hi"}).to_string();
        let late = server.enqueue(late).send().await;
        assert_eq!((late.status, late.header("rejoinder-reason")), (200, Some("conversation_ended")));
    }
);

both_backends!(
    async fn one_update_makes_one_event_of_each_type(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = widget(&server).await;
        let id = created["id"].as_str().unwrap();

        let all = r#"{"metadata": {"z": 1, "a": [2]}, "ai_enabled": false, "ended": true}"#;
        let changed = change(&server, id, all).await;
        let again = change(&server, id, all).await;

        assert_eq!(changed.status, 200, "{}", changed.text());
        assert!(changed.text().contains(r#""metadata":{"z": 1, "a": [2]}"#), "{}", changed.text());
        let data = &changed.json()["data"];
        assert_eq!((&data["ai_enabled"], &data["ended_at"]), (&json!(false), &json!("2026-03-15T14:22:11Z")));
        assert_eq!(again.text(), changed.text());
        let read = server.get(&format!("/v1/conversations/{id}")).await.json();
        assert_eq!(&read["data"], data);
        let updated = server.events("conversation.updated").await;
        let [updated] = &updated[..] else { panic!("{updated:?}") };
        let updated = &updated["data"]["conversation"];
        assert_eq!(
            (&updated["ai_enabled"], &updated["metadata"]),
            (&json!(false), &json!({"z": 1, "a": [2]}))
        );
        assert_eq!(server.events("conversation.ended").await.len(), 1);
    }
);

both_backends!(
    async fn metadata_is_replaced_and_absent_fields_stay(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = widget(&server).await;
        let id = created["id"].as_str().unwrap();
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Yes.").gated_by(&gate)]);
        let message = json!({"conversation_id": id, "sender_id": "u", "sender_type": "user", "text": "Hi"});
        let turn = server.enqueue(message.to_string()).send().await;

        let first = change(&server, id, r#"{"metadata": {"a": 1}}"#).await.json();
        gate.open();
        server.wait_for_messages(id, 3).await;
        let second = change(&server, id, r#"{"metadata": {"b": 2}}"#).await.json();
        let emptied = change(&server, id, r#"{"metadata": {}}"#).await.json();

        assert_eq!(first["data"]["metadata"], json!({"a": 1}));
        assert_eq!(second["data"]["metadata"], json!({"b": 2}));
        assert_eq!(
            (&emptied["data"]["metadata"], &emptied["data"]["ai_enabled"]),
            (&json!({}), &json!(true))
        );
        let turn = server.get(&format!("/v1/turns/{}", turn.header("rejoinder-turn").unwrap())).await.json();
        assert_eq!(turn["data"]["state"], "completed");
    }
);

both_backends!(
    async fn an_invalid_update_names_the_field_and_changes_nothing(db: TestDb) {
        let server = TestServer::start(&db).await;
        let created = widget(&server).await;
        let id = created["id"].as_str().unwrap();
        let before = server.row_counts().await;
        let deep = format!(r#"{{"metadata": {}1{}}}"#, r#"{"a":"#.repeat(128), "}".repeat(128));
        let nothing = "One of the fields 'ai_enabled', 'metadata', 'ended' is required.";

        for (body, text) in [
            ("{}", nothing),
            (r#"{"metadata": {}, "ended": null}"#, "Field 'ended' must not be null."),
            (r#"{"ai_enabled": null}"#, "Field 'ai_enabled' must not be null."),
            (
                r#"{"metadata": {}, "type": null}"#,
                "Unknown field 'type'. Known fields: 'ai_enabled', 'metadata', 'ended'.",
            ),
            (r#"{"ended": false}"#, "Field 'ended' can only be true: an end is for good."),
            (r#"{"ai_enabled": "no", "metadata": {}}"#, "Field 'ai_enabled' must be a boolean."),
            (r#"{"ai_enabled": false, "metadata": "x"}"#, "Field 'metadata' must be an object."),
            (
                r#"{"ended": true, "variables": {"a": 1}}"#,
                "Unknown field 'variables'. Known fields: 'ai_enabled', 'metadata', 'ended'.",
            ),
            (r#"{"metadata": {"a": 1e999}}"#, "Field 'metadata' contains a number that is out of range."),
            (r#"{"metadata": {"a": "\udc00"}}"#, "Field 'metadata' contains an invalid character."),
            (&deep, "Field 'metadata' must not be nested deeper than 127 levels."),
        ] {
            let refused = change(&server, id, body).await;
            assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(text)), "{body}");
        }

        assert_eq!(server.row_counts().await, before);
    }
);
