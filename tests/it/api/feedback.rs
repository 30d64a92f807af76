//! A visitor rates messages of the assistant and of people.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Request;
use crate::support::seed;
use crate::support::server::{RESTRICTED, TEST, TestServer, WIDGET};

fn rating(server: &TestServer, method: &str, uuid: &str, message: &str) -> Request {
    server.request(method, &format!("/api/conversations/{uuid}/messages/{message}/feedback"))
}

async fn put(server: &TestServer, message: &str, body: &Value) -> (u16, String) {
    let answer = rating(server, "PUT", WIDGET, message).json(body).send().await;
    (answer.status, answer.text().to_owned())
}

async fn history(server: &TestServer, uuid: &str) -> Vec<Value> {
    let history = server.request("GET", &format!("/api/conversations/{uuid}")).send().await.json();
    history["history"].as_array().unwrap().clone()
}

fn id(message: &Value) -> &str {
    message["id"].as_str().unwrap()
}

/// Asks something, and returns the visitor's message and the reply.
async fn ask(server: &TestServer, uuid: &str) -> [Value; 2] {
    assert_eq!(server.post_message(uuid, "Hi").send().await.status, 200);
    let history = history(server, uuid).await;
    history[history.len() - 2..].to_vec().try_into().unwrap()
}

both_backends!(
    async fn a_rating_is_an_event_once_and_is_in_the_histories(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let [_, reply] = ask(&server, WIDGET).await;
        let up = json!({ "rating": "up", "comment": "That helped." });

        for _ in 0..2 {
            let rated = r#"{"status":true,"feedback":{"rating":"up","comment":"That helped."}}"#;
            assert_eq!(put(&server, id(&reply), &up).await, (200, rated.to_owned()));
        }
        assert_eq!(history(&server, WIDGET).await.last().unwrap()["feedback"], up);
        assert_eq!(server.messages(&con).await.last().unwrap()["feedback"], up);
        assert_eq!(server.get(&format!("/v1/messages/{}", id(&reply))).await.json()["data"]["feedback"], up);

        let down = r#"{"status":true,"feedback":{"rating":"down"}}"#;
        let blank = json!({ "rating": "down", "comment": " " });
        assert_eq!(put(&server, id(&reply), &blank).await, (200, down.to_owned()));
        for _ in 0..2 {
            let withdrawn = rating(&server, "DELETE", WIDGET, id(&reply)).send().await;
            assert_eq!((withdrawn.status, withdrawn.text()), (200, r#"{"status":true,"feedback":null}"#));
        }

        assert_eq!(history(&server, WIDGET).await.last().unwrap().get("feedback"), None);
        let event = |rating: Value, comment: Value| json!({ "conversation_id": con, "message_id": id(&reply), "rating": rating, "comment": comment });
        let events: Vec<_> =
            server.events("message.feedback").await.iter().map(|event| event["data"].clone()).collect();
        let expected = [
            event(json!("up"), json!("That helped.")),
            event(json!("down"), json!(null)),
            event(json!(null), json!(null)),
        ];
        assert_eq!(events, expected);
    }
);

both_backends!(
    async fn of_the_same_ratings_at_once_one_is_an_event(db: TestDb) {
        let server = TestServer::start(&db).await;
        let [_, reply] = ask(&server, WIDGET).await;
        let up = json!({ "rating": "up" });
        let once = || put(&server, id(&reply), &up);

        let (first, second, third) = tokio::join!(once(), once(), once());

        assert!(
            [&first, &second, &third].iter().all(|answer| answer.0 == 200),
            "{first:?} {second:?} {third:?}"
        );
        assert_eq!(server.events("message.feedback").await.len(), 1);
    }
);

both_backends!(
    async fn messages_of_people_are_rated_too_and_no_others(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let [question, reply] = ask(&server, WIDGET).await;
        let [_, foreign] = ask(&server, TEST).await;
        let up = json!({ "rating": "up" });
        let mut ids = Vec::new();
        for sender in ["agent", "system"] {
            let body = json!({
                "conversation_id": con, "sender_id": "a", "sender_type": sender, "text": "Hi", "auto_reply": false,
            });
            let sent = server.enqueue(body.to_string()).send().await.json();
            ids.push(id(&sent["data"]["message"]).to_owned());
        }

        assert_eq!(put(&server, &ids[0], &up).await.0, 200);
        let missing = r#"{"status":false,"error":"Message not found"}"#;
        for other in [id(&question), id(&foreign), ids[1].as_str(), "msg_01k9z3x8f5e4r9t2m6q7w8y0ab", "x"] {
            assert_eq!(put(&server, other, &up).await, (404, missing.to_owned()), "{other}");
            assert_eq!(rating(&server, "DELETE", WIDGET, other).send().await.status, 404);
        }
        let unknown = rating(&server, "PUT", "00000000-0000-4000-8000-000000000000", id(&reply)).json(&up);
        assert_eq!(unknown.send().await.header("rejoinder-error"), Some("conversation_not_found"));
        assert_eq!(server.events("message.feedback").await.len(), 1);
    }
);

both_backends!(
    async fn what_is_wrong_is_named(db: TestDb) {
        let server = TestServer::start(&db).await;
        let [_, reply] = ask(&server, WIDGET).await;
        let long = "\u{fc}".repeat(1001);

        for (body, field) in [
            (json!({}), "rating"),
            (json!({ "rating": "meh" }), "rating"),
            (json!({ "rating": 1 }), "rating"),
            (json!({ "rating": "up", "comment": long }), "comment"),
            (json!({ "rating": "up", "comment": "\0" }), "comment"),
            (json!({ "rating": "up", "stars": 5 }), "body"),
        ] {
            let (status, text) = put(&server, id(&reply), &body).await;
            let text: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(status, 422, "{body}");
            assert!(text["errors"].get(field).is_some(), "{body}: {text}");
        }
        let created =
            server.request("POST", "/api/conversations").json(&json!({ "assistant_id": RESTRICTED }));
        let created = created.send().await.json();
        let uuid = created["conversation_id"].as_str().unwrap();
        let evil = rating(&server, "DELETE", uuid, id(&reply)).header("Origin", "https://evil.example");
        assert_eq!(evil.send().await.status, 403);
        seed::configure(&db, "update workspaces set suspended_at = 1 where slug = 'demo'").await;
        let suspended = rating(&server, "DELETE", WIDGET, id(&reply)).send().await;
        assert_eq!(suspended.header("rejoinder-error"), Some("workspace_suspended"));
    }
);
