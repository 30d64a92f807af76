//! The widget API besides messages: conversations, and disabling the AI.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::server::{ASSISTANT, RESTRICTED, Setup, TEST, TestServer};
use crate::support::store;

both_backends!(
    async fn a_conversation_begins_with_the_assistants_first_message(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({"assistant_id": ASSISTANT, "variables": {"name": "Ada"}}).to_string();

        let answer = server.request("POST", "/api/conversations").body(body).send().await;

        assert_eq!(answer.status, 200);
        let uuid = answer.json()["conversation_id"].as_str().unwrap().to_owned();
        let expected = format!(
            r#"{{"status":true,"conversation_id":"{uuid}","history":[{{"role":"assistant","content":"Hello Ada!"}}]}}"#
        );
        assert_eq!(answer.text(), expected);
        assert!(!answer.text().contains("con_"));
    }
);

both_backends!(
    async fn every_invalid_field_of_a_new_conversation_is_reported(db: TestDb) {
        let server = TestServer::start(&db).await;
        let make = async |body: &str| server.request("POST", "/api/conversations").body(body).send().await;

        let empty = make("{}").await;
        let several = make(r#"{"assistant_id": "x", "type": "api", "variables": []}"#).await;
        let two = make(r#"{"type": "api"}"#).await;
        let nul =
            make(&format!(r#"{{"assistant_id": "{ASSISTANT}", "variables": {{"a": "\u0000"}}}}"#)).await;
        let unknown = make(r#"{"assistant_id": "550e8400-e29b-41d4-a716-446655440001"}"#).await;

        let required = "The assistant id field is required.";
        let expected = json!({"message": required, "errors": {"assistant_id": [required]}});
        assert_eq!((empty.status, empty.json()), (422, expected));
        let uuid = "The assistant id field must be an id of the form ast_…, or a UUID.";
        assert_eq!(
            several.json(),
            json!({
                "message": format!("{uuid} (and 2 more errors)"),
                "errors": {
                    "assistant_id": [uuid],
                    "type": ["The selected type is invalid."],
                    "variables": ["The variables field must be an object."],
                }
            })
        );
        assert_eq!(two.json()["message"], format!("{required} (and 1 more error)"));
        assert_eq!(nul.json()["message"], "The variables field contains an invalid character.");
        assert_eq!(
            (unknown.status, unknown.text()),
            (404, r#"{"status":false,"error":"Assistant not found"}"#)
        );
    }
);

both_backends!(
    async fn a_conversation_needs_the_price_of_one_message(db: TestDb) {
        let server = Setup::default().balance("0.009999").start(&db).await;
        let make = async |kind: &str| {
            let body = json!({"assistant_id": ASSISTANT, "type": kind}).to_string();
            let request = server.request("POST", "/api/conversations").body(body);
            request.bearer(&server.keys.full).send().await
        };

        let widget = make("widget").await;

        let expected = r#"{"status":false,"error":"Insufficient balance. Please top up your account."}"#;
        assert_eq!((widget.status, widget.text()), (400, expected));
        assert_eq!(make("test").await.status, 200, "it is free");
    }
);

both_backends!(
    async fn a_visitor_cannot_create_a_free_test_conversation(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({"assistant_id": ASSISTANT, "type": "test"});
        let create = || server.request("POST", "/api/conversations").json(&body);
        let before = server.row_counts().await;

        let refused = create().send().await;

        let expected = r#"{"status":false,"error":"A test conversation needs an API key, or an assistant with allow_test = true."}"#;
        assert_eq!((refused.status, refused.text()), (403, expected));
        assert_eq!(refused.header("rejoinder-error"), Some("test_refused"));
        assert_eq!(server.row_counts().await, before);
        let created = create().bearer(&server.keys.full).send().await;
        assert_eq!(created.status, 200, "{}", created.text());
        for uuid in [TEST, created.json()["conversation_id"].as_str().unwrap()] {
            let answer = server.post_message(uuid, "Hi").send().await;
            assert_eq!(answer.status, 200, "one that exists is open: {}", answer.text());
        }
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn an_assistant_can_allow_visitors_to_create_test_conversations(db: TestDb) {
        let allow = |text: String| text.replacen("first_message =", "allow_test = true\nfirst_message =", 1);
        let server = Setup::default().workspace(allow).start(&db).await;
        let create = |assistant: &str| {
            let body = json!({"assistant_id": assistant, "type": "test"});
            server.request("POST", "/api/conversations").json(&body)
        };

        let created = create(ASSISTANT).send().await;
        let refused = create(RESTRICTED).send().await;

        assert_eq!(created.status, 200, "{}", created.text());
        assert_eq!(refused.header("rejoinder-error"), Some("test_refused"));
    }
);

both_backends!(
    async fn the_history_is_oldest_first_without_system_messages(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        server.post_message_body(&uuid, r#"{"message": "Hi"}"#).send().await;
        let list = server
            .request("GET", &format!("/v1/conversations?widget_uuid={uuid}"))
            .bearer(&server.keys.full)
            .send()
            .await;
        let con = list.json()["data"]["items"][0]["id"].as_str().unwrap().to_owned();
        for (kind, text) in [("system", "Be brief."), ("agent", "A person here.")] {
            let body = json!({"conversation_id": con, "sender_id": "a", "sender_type": kind, "text": text, "auto_reply": false});
            assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
        }
        let read = async |query: &str| {
            server.request("GET", &format!("/api/conversations/{uuid}{query}")).send().await
        };

        let all = read("").await;
        let body = all.json();

        assert_eq!(all.status, 200);
        let messages: Vec<_> = body["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                (
                    entry["role"].as_str().unwrap(),
                    entry["sender_type"].as_str().unwrap(),
                    entry["content"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            messages,
            [
                ("assistant", "assistant", "Hello Ada!"),
                ("user", "user", "Hi"),
                ("assistant", "assistant", "A reply of the fake model."),
                ("assistant", "agent", "A person here."),
            ]
        );
        assert_eq!(
            (&body["status"], &body["ai_enabled"], &body["variables"]),
            (&json!(true), &json!(true), &json!({"name": "Ada"}))
        );
        assert_eq!(body["history"][2]["function_calls"], json!([]));
        assert_eq!(body["history"][2]["created_at"], "2026-03-15T14:22:11Z");
        assert_eq!(read("?limit=1").await.json()["history"][0]["content"], "A person here.");
        let second = body["history"][1]["id"].as_str().unwrap();
        let newer = read(&format!("?after={second}&limit=2")).await.json();
        assert_eq!(newer["history"].as_array().unwrap().len(), 2);
        assert_eq!(newer["history"][1]["content"], "A person here.");
        assert_eq!(read("?after=msg_x").await.status, 404);
        assert_eq!(read("?limit=201").await.status, 422);
        assert_eq!(read("?limit=1&limit=2").await.status, 422);
    }
);

both_backends!(
    async fn the_history_says_that_its_conversation_has_ended(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let read = async || server.request("GET", &format!("/api/conversations/{uuid}")).send().await;
        let open = read().await.json();
        let path = format!("/v1/conversations/{}", server.conversation_id(&uuid).await);

        let end = server.request("PATCH", &path).bearer(&server.keys.full).raw_json(r#"{"ended": true}"#);
        assert_eq!(end.send().await.status, 200);
        let ended = read().await;

        assert_eq!(open.get("ended"), None);
        assert_eq!((ended.status, &ended.json()["ended"]), (200, &json!(true)));
        assert_eq!(ended.json()["history"], open["history"]);
    }
);

both_backends!(
    async fn an_api_key_can_disable_and_enable_the_ai(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let switch = |word: &str, key: Option<&str>| {
            let call = server.request("POST", &format!("/api/automate/conversations/{uuid}/{word}"));
            key.map_or_else(
                || server.request("POST", &format!("/api/automate/conversations/{uuid}/{word}")),
                |key| call.bearer(key),
            )
        };

        let off = switch("disable-ai", Some(&server.keys.full)).send().await;
        let response = server.post_message_body(&uuid, r#"{"message": "Hi"}"#).send().await;
        let on = switch("enable-ai", Some(&server.keys.full)).send().await;

        assert_eq!((off.status, off.text()), (200, r#"{"status":true,"ai_enabled":false}"#));
        assert_eq!(response.text(), r#"{"status":true,"message":"","function_calls":[],"ai_disabled":true}"#);
        assert_eq!(on.text(), r#"{"status":true,"ai_enabled":true}"#);
        for key in [None, Some("sk_unknown")] {
            let refused = switch("disable-ai", key).send().await;
            assert_eq!((refused.status, refused.text()), (401, r#"{"error":"Unauthorized"}"#));
        }
        assert_eq!(switch("disable-ai", Some(&server.keys.read_only)).send().await.status, 403);
        assert_eq!(switch("disable-ai", Some(&server.keys.other_workspace)).send().await.status, 404);
    }
);

both_backends!(
    async fn cors_allows_any_origin(db: TestDb) {
        let server = TestServer::start(&db).await;

        let preflight = server
            .request("OPTIONS", "/api/conversations/x/messages")
            .header("Origin", "https://shop.example")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type,idempotency-key")
            .bearer("sk_unknown")
            .send()
            .await;
        let answer =
            server.post_message_body("x", "{}").header("Origin", "https://shop.example").send().await;

        assert_eq!(preflight.status, 200);
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
        assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type,idempotency-key"));
        assert_eq!(preflight.header("access-control-allow-methods"), Some("GET,POST,PUT,DELETE"));
        assert_eq!(answer.status, 422);
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("rejoinder-error") && exposed.contains("retry-after"), "{exposed}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_can_read_that_a_path_has_no_route_and_nothing_else_outside_the_widget_api() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let allowed = async |method: &str, path: &str| {
        let request = server.request(method, path).header("Origin", "https://shop.example");
        let answer = request.header("Access-Control-Request-Method", "POST").send().await;
        (answer.status, answer.header("access-control-allow-origin").map(str::to_owned))
    };
    let any = Some("*".to_owned());

    for path in ["//api/conversations", "/apis/conversations", "/conversations", "/api", "/api/x"] {
        assert_eq!(allowed("OPTIONS", path).await, (200, any.clone()), "{path}");
        assert_eq!(allowed("POST", path).await, (404, any.clone()), "{path}");
    }
    for path in ["/v1/balance", "/v1/x", "/metrics", "/openapi.json", "/docs"] {
        assert_eq!(allowed("OPTIONS", path).await.1, None, "{path}");
        assert_eq!(allowed("GET", path).await.1, None, "{path}");
    }
}
