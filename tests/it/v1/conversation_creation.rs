//! A repeated creation of a conversation gets the first response, byte for byte, and creates nothing.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::server::{ASSISTANT, TestServer};

const BODY: &str = r#"{"assistant_id": "ASSISTANT", "type": "widget", "metadata": {"z": 1, "a": 2}}"#;

async fn create(server: &TestServer, key: &str, body: &str) -> Response {
    let request = server.request("POST", "/v1/conversations").bearer(&server.keys.full);
    request.header("Idempotency-Key", key).raw_json(body.replace("ASSISTANT", ASSISTANT)).send().await
}

both_backends!(
    async fn a_repeated_creation_is_replayed_with_the_same_bytes(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;

        let first = create(&server, "k", BODY).await;
        let before = server.row_counts().await;
        let again = create(&server, "k", BODY).await;
        let other = create(&server, "k", r#"{"assistant_id": "ASSISTANT"}"#).await;

        assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
        assert!(
            first.json()["data"]["widget_uuid"].is_string() && first.text().contains(r#"{"z": 1, "a": 2}"#)
        );
        assert_eq!((again.status, again.text()), (200, first.text()));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        let reused = json!({
            "status": "error", "message": "This Idempotency-Key was used with another request", "data": null,
        });
        assert_eq!((other.status, other.json()), (422, reused));
        assert_eq!(other.header("rejoinder-error"), Some("idempotency_key_reused"));
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn concurrent_duplicates_create_one_conversation(db: TestDb) {
        let server = TestServer::start(&db).await;
        let before = server.query_number("select count(*) from conversations").await;

        let duplicates =
            tokio::join!(create(&server, "k", BODY), create(&server, "k", BODY), create(&server, "k", BODY));

        assert_eq!((duplicates.0.status, duplicates.0.text()), (200, duplicates.1.text()));
        assert_eq!(duplicates.1.text(), duplicates.2.text());
        assert_eq!(server.query_number("select count(*) from conversations").await, before + 1);
    }
);

both_backends!(
    async fn a_key_is_scoped_to_its_route_and_a_refusal_stores_no_record(db: TestDb) {
        let server = TestServer::start(&db).await;
        let message = json!({"sender_id": "u", "sender_type": "user", "text": "Hi"}).to_string();

        let refused = create(&server, "k", r#"{"assistant_id": []}"#).await;
        let created = create(&server, "k", BODY).await;
        let other_key = create(&server, "l", BODY).await;
        let sent = server.enqueue(message).header("Idempotency-Key", "k").send().await;

        assert_eq!((refused.status, created.status, sent.status), (400, 200, 200));
        assert_eq!((created.header("idempotent-replayed"), sent.header("idempotent-replayed")), (None, None));
        assert_ne!(other_key.json()["data"]["id"], created.json()["data"]["id"]);
        assert_eq!(server.query_number("select count(*) from idempotency").await, 3);
    }
);

both_backends!(
    async fn a_malformed_key_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let before = server.row_counts().await;

        for key in ["", " ", &"k".repeat(256)] {
            let refused = create(&server, key, BODY).await;
            assert_eq!((refused.status, &refused.json()["data"]), (400, &Value::Null), "{key:?}");
            assert_eq!(refused.header("rejoinder-error"), Some("idempotency_key_malformed"), "{key:?}");
        }

        assert_eq!(server.row_counts().await, before);
    }
);
