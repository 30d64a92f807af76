//! Invalid input is refused in the envelope of its API with the invalid field, and changes nothing.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::http::{Request, Response};
use crate::support::server::{ASSISTANT, TestServer, WIDGET};

/// Bodies that every route refuses.
fn bodies() -> Vec<Vec<u8>> {
    let deep = "[".repeat(20_000);
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "7",
        r#""text""#,
        r#"{"message": "a""#,
        r#"{"message": {"a": 1}, "text": {"a": 1}, "assistant_id": {"a": 1}}"#,
        r#"{"message": true, "text": true, "assistant_id": true}"#,
        r#"{"message": "a\u0000b", "text": "a\u0000b", "sender_id": "u", "sender_type": "user", "assistant_id": "a\u0000"}"#,
        r#"{"message": "\ud800", "text": "\ud800", "sender_id": "u", "sender_type": "user", "assistant_id": "\ud800"}"#,
        r#"{"message": "", "text": "", "assistant_id": ""}"#,
        r#"{"text": "a", "sender_id": "\u0000", "sender_type": "user"}"#,
        r#"{"text": "a", "sender_id": "u", "sender_type": "robot"}"#,
        r#"{"text": "a", "sender_id": "u", "sender_type": "user", "conversation_id": "con_\u0000"}"#,
        r#"{"text": "a", "sender_id": "u", "sender_type": "user", "reply_to_message_id": "../.."}"#,
        r#"{"text": "a", "sender_id": "u", "sender_type": "user", "metadata": "\ud800"}"#,
        &deep,
    ];
    let mut bodies: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.push(b"{\"message\": \"\xff\xfe\", \"text\": \"\xff\xfe\"}".to_vec());
    bodies.push(vec![b'x'; 300 * 1024]);
    bodies
}

/// Asserts a refusal by the widget API: its 422, or its ordinary envelope.
fn assert_widget(answer: &Response, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let body = answer.json();
    let is_ordinary = body["status"] == false && body["error"].is_string();
    let is_422 = answer.status == 422 && body["message"].is_string() && body["errors"].is_object();
    assert!(is_ordinary || is_422, "{what}: {body}");
    assert!(answer.header("rejoinder-error").is_some(), "{what}");
}

/// Asserts a refusal in the envelope of the platform API.
fn assert_platform(answer: &Response, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let body = answer.json();
    assert_eq!((&body["status"], &body["data"]), (&json!("error"), &Value::Null), "{what}: {body}");
    assert!(body["message"].as_str().is_some_and(|text| text.ends_with('.')), "{what}: {body}");
    assert!(answer.header("rejoinder-error").is_some(), "{what}");
}

both_backends!(
    async fn every_route_refuses_an_invalid_body_in_its_apis_envelope(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let before = server.row_counts().await;

        for body in bodies() {
            let what = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            for path in ["/api/conversations", &format!("/api/conversations/{WIDGET}/messages")] {
                let answer = server.request("POST", path).raw_json(&body).send().await;
                assert_widget(&answer, &format!("{path} {what}"));
            }
            let one = format!("/v1/conversations/{con}");
            for (method, path) in [("POST", "/v1/messages"), ("POST", "/v1/conversations"), ("PATCH", &one)] {
                let answer =
                    server.request(method, path).bearer(&server.keys.full).raw_json(&body).send().await;
                assert_platform(&answer, &format!("{method} {path} {what}"));
            }
        }

        assert_eq!(server.row_counts().await, before);
        assert!(server.model.calls().all().is_empty());
    }
);

both_backends!(
    async fn unknown_ids_and_ids_of_other_tenants_are_refused_alike(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let turn =
            server.post_message(WIDGET, "Hi").send().await.header("rejoinder-turn").unwrap().to_owned();
        let before = server.row_counts().await;
        let keyed = |request: Request, key: &str| request.bearer(key).raw_json(r#"{"ended": true}"#);
        let odd = [
            "x",
            "%00",
            "%ff",
            "..%2f..",
            "con_",
            "con_00000000000000000000000000",
            "🙂",
            &"9".repeat(3_000),
        ];

        for name in odd {
            for tail in ["", "/messages", "/widget_link"] {
                for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
                    let path = format!("/v1/conversations/{name}{tail}");
                    let answer = keyed(server.request(method, &path), &server.keys.full).send().await;
                    assert_platform(&answer, &format!("{method} {path}"));
                }
            }
            assert_platform(&server.get(&format!("/v1/turns/{name}")).await, name);
            for (method, tail) in [("GET", ""), ("POST", "/messages"), ("DELETE", ""), ("PUT", "/messages")] {
                let path = format!("/api/conversations/{name}{tail}");
                let answer = server.request(method, &path).raw_json(r#"{"message": "Hi"}"#).send().await;
                assert_widget(&answer, &format!("{method} {path}"));
            }
        }
        for (method, path) in [
            ("GET", format!("/v1/conversations/{con}")),
            ("PATCH", format!("/v1/conversations/{con}")),
            ("GET", format!("/v1/conversations/{con}/messages")),
            ("POST", format!("/v1/conversations/{con}/widget_link")),
            ("GET", format!("/v1/turns/{turn}")),
        ] {
            let request = server.request(method, &path).bearer(&server.keys.other_workspace);
            // The others have no input.
            let request = if method == "PATCH" { request.raw_json(r#"{"ended": true}"#) } else { request };
            let answer = request.send().await;
            assert_platform(&answer, &path);
            assert_eq!(answer.status, 404, "{path}");
        }
        let foreign = json!({ "assistant_id": ASSISTANT }).to_string();
        let foreign =
            server.request("POST", "/api/conversations").bearer(&server.keys.other_workspace).body(foreign);
        assert_widget(&foreign.send().await, "a key of another tenant");

        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn the_platform_api_reports_a_content_type_that_is_not_json(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = r#"{"sender_id": "u", "sender_type": "user", "text": "Hi"}"#;
        let before = server.row_counts().await;

        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "x", ""] {
            for path in ["/v1/messages", "/v1/conversations"] {
                let request =
                    server.request("POST", path).bearer(&server.keys.full).header("content-type", kind);
                let answer = request.body(body).send().await;
                assert_platform(&answer, &format!("{path} {kind:?}"));
                assert_eq!(answer.status, 400);
            }
        }

        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn invalid_queries_are_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;

        for list in ["conversations", "ledger", "events", &format!("conversations/{con}/messages")]
            .map(|list| format!("/v1/{list}"))
        {
            for query in ["limit=0", "limit=201", "limit=x", "limit=-1", "limit=1&limit=2", "limit=%00"] {
                assert_platform(&server.get(&format!("{list}?{query}")).await, &format!("{list}?{query}"));
            }
            let cursor = if list.ends_with("events") { "after" } else { "cursor" };
            for value in ["x", "%00", "-1", "99999999999999999999999", "%ff"] {
                let path = format!("{list}?{cursor}={value}");
                assert_platform(&server.get(&path).await, &path);
            }
        }
        for query in ["widget_uuid=x", "type=x", "assistant_id=x", "external_identifier=%00"] {
            let answer = server.get(&format!("/v1/conversations?{query}")).await;
            if answer.status != 200 {
                assert_platform(&answer, query);
            }
        }
    }
);
