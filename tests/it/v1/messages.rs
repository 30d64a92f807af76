//! The platform contract: its example bodies, byte for byte, its errors and its texts.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::server::{Setup, TestServer};

fn message(change: &Value) -> String {
    let mut message = json!({"sender_id": "usr_82hd92", "sender_type": "user", "text": "Hello from curl!"});
    message.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    message.to_string()
}

fn error(text: &str) -> String {
    format!(r#"{{"status":"error","message":"{text}","data":null}}"#)
}

both_backends!(
    async fn a_message_is_acknowledged_as_the_contract_shows(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let body = r#"{"sender_id": "usr_82hd92", "sender_type": "user", "text": " Can you summarize my last 5 calls? ",
            "metadata": {"channel":"web",  "locale":"en-US", "a": 1.0}, "auto_reply": true, "unknown": 1, "reply_to_message_id": null}"#;

        let answer = server.enqueue(body).send().await;

        assert_eq!(answer.status, 200);
        let data = &answer.json()["data"];
        let (con, msg) = (data["conversation_id"].as_str().unwrap(), data["message"]["id"].as_str().unwrap());
        assert!(con.starts_with("con_") && msg.starts_with("msg_"));
        let expected = format!(
            r#"{{"status":"success","message":"Message sent successfully.","data":{{"conversation_id":"{con}","message":{{"id":"{msg}","sender_id":"usr_82hd92","sender_type":"user","text":" Can you summarize my last 5 calls? ","metadata":{{"channel":"web",  "locale":"en-US", "a": 1.0}},"created_at":"2026-03-15T14:22:11Z"}},"auto_reply_enqueued":true}}}}"#
        );
        assert_eq!(answer.text(), expected);
        assert!(answer.header("rejoinder-turn").unwrap().starts_with("trn_"));
        assert_eq!(answer.header("rejoinder-reason"), None);
    }
);

both_backends!(
    async fn a_message_without_a_reply_says_why(db: TestDb) {
        let server = TestServer::start(&db).await;

        let answer = server.enqueue(message(&json!({"auto_reply": false}))).send().await;

        assert_eq!(answer.json()["data"]["auto_reply_enqueued"], false);
        assert_eq!(answer.header("rejoinder-reason"), Some("auto_reply_off"));
        assert_eq!(answer.header("rejoinder-turn"), None);
    }
);

both_backends!(
    async fn an_invalid_message_is_a_400_that_names_the_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let deep: Value = (0..126).fold(json!({}), |inner, _| json!({"a": inner}));

        for (change, text) in [
            (json!({"text": null}), "Field 'text' is required."),
            (json!({"text": ""}), "Field 'text' is required."),
            (json!({"text": " \n"}), "Field 'text' is required."),
            (json!({"text": 1}), "Field 'text' must be a string."),
            (json!({"text": "é".repeat(10_001)}), "Field 'text' must not be greater than 10000 characters."),
            (json!({"text": "a\0"}), "Field 'text' contains an invalid character."),
            (json!({"sender_id": null, "text": null}), "Field 'sender_id' is required."),
            (json!({"sender_id": 7}), "Field 'sender_id' must be a string."),
            (
                json!({"sender_id": "é".repeat(256)}),
                "Field 'sender_id' must not be greater than 255 characters.",
            ),
            (json!({"sender_type": null}), "Field 'sender_type' is required."),
            (json!({"sender_type": "assistant"}), "Field 'sender_type' must be one of: user, agent, system."),
            (json!({"sender_type": {}}), "Field 'sender_type' must be one of: user, agent, system."),
            (json!({"conversation_id": 1, "text": null}), "Field 'conversation_id' must be a string."),
            (json!({"metadata": []}), "Field 'metadata' must be an object."),
            (json!({"metadata": "a"}), "Field 'metadata' must be an object."),
            (
                json!({"metadata": {"a": "x".repeat(16 * 1024)}}),
                "Field 'metadata' must not be greater than 16 KB.",
            ),
            (json!({"auto_reply": "yes"}), "Field 'auto_reply' must be a boolean."),
            (json!({"reply_to_message_id": 1}), "Field 'reply_to_message_id' must be a string."),
        ] {
            let answer = server.enqueue(message(&change)).send().await;
            assert_eq!((answer.status, answer.text()), (400, &*error(text)), "{change}");
            assert_eq!(answer.header("rejoinder-error"), Some("invalid_request"));
        }
        let deep = message(&json!({"metadata": deep, "auto_reply": false}));
        assert_eq!(server.enqueue(deep).send().await.status, 200);
        assert_eq!(
            server.query_number("select count(*) from messages where sender_id = 'usr_82hd92'").await,
            1
        );
    }
);

both_backends!(
    async fn a_body_that_is_not_a_json_object_is_a_400(db: TestDb) {
        let server = TestServer::start(&db).await;
        let surrogate = r#"{"sender_id": "a", "sender_type": "user", "text": "\udc00"}"#;
        let hidden = r#"{"sender_id": "a", "sender_type": "user", "text": "a", "metadata": {"a": "\ud800"}}"#;
        let large = r#"{"sender_id": "a", "sender_type": "user", "text": "a", "metadata": {"a": [1e999]}}"#;
        let deep = format!("{}1{}", r#"{"a":"#.repeat(128), "}".repeat(128));
        let deep = format!(r#"{{"sender_id": "a", "sender_type": "user", "text": "a", "metadata": {deep}}}"#);

        for (body, text) in [
            ("", "Request body is not valid JSON."),
            ("{", "Request body is not valid JSON."),
            ("{\"text\": \"a\u{1}\"}", "Request body is not valid JSON."),
            ("[]", "Request body must be a JSON object."),
            ("null", "Request body must be a JSON object."),
            (r#"["con_1", "a", "user", "a"]"#, "Request body must be a JSON object."),
            (surrogate, "Field 'text' contains an invalid character."),
            (hidden, "Field 'metadata' contains an invalid character."),
            (large, "Field 'metadata' contains a number that is out of range."),
            (&deep, "Field 'metadata' must not be nested deeper than 127 levels."),
        ] {
            let answer = server.enqueue(body).send().await;
            assert_eq!((answer.status, answer.text()), (400, &*error(text)), "{body}");
        }
        let undeclared = server
            .request("POST", "/v1/messages")
            .bearer(&server.keys.full)
            .body(message(&json!({})))
            .send()
            .await;
        assert_eq!(
            (undeclared.status, undeclared.text()),
            (400, &*error("Header 'Content-Type' must be application/json."))
        );
        let charset = server
            .request("POST", "/v1/messages")
            .bearer(&server.keys.full)
            .header("content-type", "Application/JSON; charset=utf-8");
        assert_eq!(charset.body(message(&json!({}))).send().await.status, 200);
    }
);

both_backends!(
    async fn authentication_is_checked_first(db: TestDb) {
        let server = TestServer::start(&db).await;
        let text = error("Invalid or expired token.");

        for key in ["sk_unknown", &server.keys.expired, &server.keys.revoked, ""] {
            let answer = server.request("POST", "/v1/messages").bearer(key).body("{").send().await;
            assert_eq!((answer.status, answer.text()), (401, &*text), "{key}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let none = server.request("POST", "/v1/messages").send().await;
        assert_eq!((none.status, none.text()), (401, &*text));
        let basic =
            server.request("POST", "/v1/messages").header("authorization", "Basic c2tfYWxsOg==").send().await;
        assert_eq!((basic.status, basic.text()), (401, &*text));
        let lower = server
            .request("POST", "/v1/messages")
            .header("authorization", &format!("bearer  {}", server.keys.full))
            .raw_json(message(&json!({})));
        assert_eq!(lower.send().await.status, 200);
        let scope =
            server.request("POST", "/v1/messages").bearer(&server.keys.read_only).raw_json("{}").send().await;
        assert_eq!(
            (scope.status, scope.text()),
            (403, &*error("This key lacks the scope 'messages:write'."))
        );
    }
);

both_backends!(
    async fn unknown_and_foreign_ids_get_the_same_bytes(db: TestDb) {
        let server = TestServer::start(&db).await;
        let unanswered = || message(&json!({ "auto_reply": false }));
        let mine = server.enqueue(unanswered()).send().await.json();
        let con = mine["data"]["conversation_id"].as_str().unwrap();
        let msg = mine["data"]["message"]["id"].as_str().unwrap();
        let other = server.enqueue(unanswered()).send().await.json();
        let other = other["data"]["conversation_id"].as_str().unwrap();
        let before = server.row_counts().await;

        let unknown = server.enqueue(message(&json!({"conversation_id": "con_9s2kd81"}))).send().await;
        let foreign = message(&json!({"conversation_id": con}));
        let foreign = server
            .request("POST", "/v1/messages")
            .bearer(&server.keys.other_workspace)
            .raw_json(foreign)
            .send()
            .await;
        let no_message = server.enqueue(message(&json!({"reply_to_message_id": "msg_45kd01"}))).send().await;
        let elsewhere = message(&json!({"conversation_id": other, "reply_to_message_id": msg}));
        let elsewhere = server.enqueue(elsewhere).send().await;

        assert_eq!((unknown.status, unknown.text()), (404, &*error("Conversation not found: con_9s2kd81.")));
        assert_eq!(
            (foreign.status, foreign.text()),
            (404, &*error(&format!("Conversation not found: {con}.")))
        );
        assert_eq!((no_message.status, no_message.text()), (404, &*error("Message not found: msg_45kd01.")));
        assert_eq!(
            (elsewhere.status, elsewhere.text()),
            (404, &*error(&format!("Message not found: {msg}.")))
        );
        assert_eq!(server.row_counts().await, before);
        let joined = server.enqueue(message(&json!({"reply_to_message_id": msg}))).send().await.json();
        assert_eq!(joined["data"]["conversation_id"], con);
        assert_eq!(joined["data"]["message"]["reply_to_message_id"], msg);
    }
);

both_backends!(
    async fn a_conversation_is_created_only_if_the_workspace_allows_it(db: TestDb) {
        let server = TestServer::start(&db).await;

        let answer = server
            .request("POST", "/v1/messages")
            .bearer(&server.keys.other_workspace)
            .raw_json(message(&json!({})))
            .send()
            .await;

        assert_eq!((answer.status, answer.text()), (400, &*error("Field 'conversation_id' is required.")));
    }
);

both_backends!(
    async fn a_missing_default_assistant_is_named(db: TestDb) {
        let edit = |text: String| text.replace("default_assistant = \"front-desk\"\n", "");
        let server = Setup::default().workspace(edit).start(&db).await;

        let answer = server.enqueue(message(&json!({}))).send().await;

        let text = "Field 'conversation_id' is required, because this workspace has no default assistant.";
        assert_eq!((answer.status, answer.text()), (400, &*error(text)));
    }
);

both_backends!(
    async fn an_idempotency_key_replays_its_answer(db: TestDb) {
        let server = TestServer::start(&db).await;
        let send = |body: String| server.enqueue(body).header("Idempotency-Key", "order-42");

        let first = send(message(&json!({}))).send().await;
        let again = send(message(&json!({}))).send().await;
        let other = send(message(&json!({"text": "b"}))).send().await;
        let malformed = server.enqueue(message(&json!({}))).header("Idempotency-Key", "").send().await;

        assert_eq!((again.status, again.text()), (200, first.text()));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.header("idempotent-replayed"), None);
        assert_eq!(
            (other.status, other.text()),
            (422, &*error("This Idempotency-Key was used with another request"))
        );
        assert_eq!(malformed.status, 400);
    }
);
