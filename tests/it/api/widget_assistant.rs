//! The widget settings of an assistant, as pages read them.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::seed;
use crate::support::server::{ASSISTANT, RESTRICTED, Setup, TestServer};

/// Settings in the workspace file of the assistant with visitor variables.
const SETTINGS: &str = r##"
[assistants.widget]
title = "Ask us"
subtitle = "Usually at once"
accent = "#123abc"
quick_replies = ["Where is my order?"]
form = [{ variable = "name", label = "Your name", required = true }]
tools = "details"

[[assistants]]
slug = "guarded""##;

fn with_settings(text: &str) -> String {
    let text = text.replacen("[[assistants]]\nslug = \"guarded\"", SETTINGS, 1);
    text.replacen("name = \"write_note\"", "name = \"write_note\"\nlabel = \"Taking a note\"", 1)
}

both_backends!(
    async fn the_settings_of_a_widget_are_read_by_pages(db: TestDb) {
        let server = Setup::default().workspace(|text| with_settings(&text)).start(&db).await;
        let read = async |name: &str| server.request("GET", &format!("/api/assistants/{name}")).send().await;

        let answer = read(ASSISTANT).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
        let assistant = &answer.json()["assistant"];
        let id = assistant["id"].as_str().unwrap().to_owned();
        assert_eq!(
            answer.json(),
            json!({"status": true, "assistant": {
                "id": id, "title": "Ask us", "subtitle": "Usually at once", "accent": "#123abc",
                "quick_replies": ["Where is my order?"],
                "form": [{"variable": "name", "label": "Your name", "type": "text", "required": true, "max_length": 80}],
                "tools": "details",
                "tool_labels": {
                    "book_appointment": {"kind": "calendar_booking"},
                    "cancel_appointment": {"kind": "calendar_cancel"},
                    "check_calendar_availability": {"kind": "calendar_availability"},
                    "get_order_status": {"kind": "webhook"},
                    "write_note": {"kind": "webhook", "label": "Taking a note"},
                },
            }})
        );
        assert!(id.starts_with("ast_"), "{id}");
        assert_eq!(read(&id).await.json(), answer.json());
        let plain = read(RESTRICTED).await.json();
        assert_eq!(
            plain["assistant"],
            json!({
                "id": plain["assistant"]["id"], "title": "Guarded", "quick_replies": [], "form": [],
                "tools": "label", "tool_labels": {},
            })
        );
        seed::configure(&db, "update assistants set archived_at = 1").await;
        assert_eq!(read(ASSISTANT).await.status, 200, "it still answers in its conversations");
    }
);

both_backends!(
    async fn hidden_tools_have_no_names(db: TestDb) {
        let hidden = |text: &str| text.replacen("tools = \"details\"", "tools = \"hidden\"", 1);
        let server = Setup::default().workspace(move |text| hidden(&with_settings(&text))).start(&db).await;

        let read = server.request("GET", &format!("/api/assistants/{ASSISTANT}")).send().await.json();

        let assistant = &read["assistant"];
        assert_eq!((&assistant["tools"], &assistant["tool_labels"]), (&json!("hidden"), &json!({})));
    }
);

both_backends!(
    async fn an_assistant_that_a_page_may_not_see_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let read = |name: &str| server.request("GET", &format!("/api/assistants/{name}"));

        for name in ["x", "550e8400-e29b-41d4-a716-446655440001", "550e8400e29b41d4a716446655440000"] {
            let unknown = read(name).send().await;
            let expected = r#"{"status":false,"error":"Assistant not found"}"#;
            assert_eq!((unknown.status, unknown.text()), (404, expected), "{name}");
        }
        let other = read(ASSISTANT).bearer(&server.keys.other_workspace).send().await;
        assert_eq!(other.status, 404);
        let refused = read(RESTRICTED).header("Origin", "https://evil.example").send().await;
        assert_eq!((refused.status, refused.header("rejoinder-error")), (403, Some("origin_refused")));
        assert_eq!(refused.header("cache-control"), Some("no-store"));
        for origin in ["https://shop.example", server.url().as_str()] {
            let allowed = read(RESTRICTED).header("Origin", origin).send().await;
            assert_eq!(allowed.status, 200, "{origin}");
        }
    }
);

both_backends!(
    async fn a_page_of_the_server_itself_may_talk_to_a_restricted_assistant(db: TestDb) {
        let server = TestServer::start(&db).await;
        let body = json!({ "assistant_id": RESTRICTED });
        let create =
            |origin: &str| server.request("POST", "/api/conversations").header("Origin", origin).json(&body);

        let own = create(&server.url()).send().await;

        assert_eq!(own.status, 200, "{}", own.text());
        assert_eq!(create("http://127.0.0.1:1").send().await.status, 403);
    }
);

both_backends!(
    async fn the_chat_of_an_assistant_is_a_page_that_its_origins_may_embed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let read = async |name: &str| server.request("GET", &format!("/chat/{name}")).send().await;

        let (open, restricted) = (read(ASSISTANT).await, read(RESTRICTED).await);
        let unknown = read("550e8400-e29b-41d4-a716-446655440001").await;

        let policy = |answer: &Response| answer.header("content-security-policy").unwrap().to_owned();
        assert_eq!((open.status, restricted.status, unknown.status), (200, 200, 404));
        assert!(policy(&open).ends_with("; frame-ancestors *"), "{}", policy(&open));
        let embedders = "; frame-ancestors 'self' https://shop.example";
        assert!(policy(&restricted).ends_with(embedders), "{}", policy(&restricted));
        assert!(restricted.text().contains(&format!("data-assistant=\"{RESTRICTED}\"")));
        assert_eq!(unknown.header("rejoinder-error"), Some("assistant_not_found"));
        assert_eq!(unknown.header("content-type"), Some("text/html; charset=utf-8"));
    }
);
