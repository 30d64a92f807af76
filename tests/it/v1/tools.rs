//! Tools in the platform API, and test calls.

mod secrets;
mod writes;

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::fake_tool::ToolReply;
use crate::support::http::Response;
use crate::support::server::{Setup, TestServer};

/// Reads the tool with this slug by its id.
pub async fn tool(server: &TestServer, slug: &str) -> Value {
    let listed = server.get("/v1/tools").await.json();
    let items = listed["data"]["items"].as_array().unwrap();
    let found = items.iter().find(|tool| tool["slug"] == slug).unwrap_or_else(|| panic!("{listed}"));
    server.get(&format!("/v1/tools/{}", found["id"].as_str().unwrap())).await.json()["data"].clone()
}

pub async fn test(server: &TestServer, slug: &str, body: &Value) -> Response {
    let path = format!("/v1/tools/{}/test", tool(server, slug).await["id"].as_str().unwrap());
    server.request("POST", &path).bearer(&server.keys.full).json(body).send().await
}

/// The result of a successful test call.
pub async fn tested(server: &TestServer, slug: &str, body: &Value) -> Value {
    let answer = test(server, slug, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// A webhook tool that uses every setting.
pub const CANARY: &str = r#"
[[tools]]
slug = "canary"
kind = "webhook"
name = "canary"
description = "Calls with secrets"
method = "POST"
url = "@URL@/v2/{{company}}/{id}?key={{query_key}}"
headers = { authorization = { env = "TOKEN" }, x-plain = "for {id}", x-key = "k={{query_key}}" }
secrets = { query_key = { env = "QUERY_KEY" } }
secret = { env = "SIGNING" }
static = { source = "chat" }
timeout = "1s"
parameters = { type = "object", properties = { id = { type = "string" } }, required = ["id"] }
"#;

/// The default workspace with that tool.
pub fn with_canary() -> Setup {
    Setup::default().workspace(|text| {
        let url = text.lines().find_map(|line| line.strip_prefix("url = \"")).unwrap();
        let url = url.split("/orders").next().unwrap().to_owned();
        let text = text.replace(r#""orders", "notes"]"#, r#""orders", "notes", "canary"]"#);
        format!("{text}\n{}", CANARY.replace("@URL@", &url))
    })
}

both_backends!(
    async fn tools_are_listed_and_read_without_a_secret(db: TestDb) {
        let server = with_canary().start(&db).await;

        let listed = server.get("/v1/tools?limit=4").await.json()["data"].clone();
        let cursor = listed["next_cursor"].as_str().unwrap();
        let rest = server.get(&format!("/v1/tools?cursor={cursor}")).await.json()["data"].clone();
        let canary = tool(&server, "canary").await;
        let booking = tool(&server, "booking").await;

        let items = listed["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap());
        let mut slugs: Vec<_> = items.map(|item| item["slug"].as_str().unwrap()).collect();
        slugs.sort_unstable();
        assert_eq!(slugs, ["availability", "booking", "canary", "cancelling", "notes", "orders"]);
        assert!(canary["id"].as_str().unwrap().starts_with("tool_"), "{canary}");
        assert_eq!((&canary["kind"], &canary["name"]), (&json!("webhook"), &json!("canary")));
        assert_eq!(canary["parameters"]["required"], json!(["id"]));
        let headers = json!({ "authorization": { "secret": "***" }, "x-key": "***", "x-plain": "***" });
        assert_eq!(canary["headers"], headers);
        assert_eq!((&canary["secret"], &canary["secrets"]), (&json!("***"), &json!({ "query_key": "***" })));
        assert_eq!((&canary["static"], &canary["timeout"]), (&json!({ "source": "***" }), &json!("1s")));
        assert_eq!((&canary["method"], &canary["form"]), (&json!("POST"), &json!(false)));
        assert!(!canary.to_string().contains("sealed"), "{canary}");
        assert!(booking["calendar"].as_str().unwrap().starts_with("cal_"), "{booking}");
        for field in ["url", "headers", "timeout", "method", "secrets", "allow", "listing"] {
            assert_eq!(booking.get(field), None);
        }
    }
);

both_backends!(
    async fn a_test_call_is_sent_like_a_turns_call_and_shows_the_exchange(db: TestDb) {
        let server = with_canary().start(&db).await;
        server.tool.script().queue([ToolReply::json(&json!({ "found": true }))]);
        let before = server.row_counts().await;

        let body = json!({ "arguments": { "id": "a b" }, "variables": { "company": "c/7" } });
        let called = tested(&server, "canary", &body).await;

        assert_eq!(called["result"], json!({ "found": true }));
        assert!(called["duration_ms"].is_u64());
        let sent = &server.tool.calls().all()[0].request;
        assert_eq!(sent.uri, "/v2/c%2F7/a%20b?key=canary%2Fkey%201");
        assert_eq!(sent.headers["authorization"], "Bearer canary-t0ken");
        assert_eq!(sent.headers["x-key"], "k=canary/key 1");
        assert!(sent.headers.contains_key("webhook-signature"));
        let request = &called["request"];
        assert_eq!(request["method"], "POST");
        assert!(request["url"].as_str().unwrap().ends_with("/v2/c%2F7/a%20b?key=***"), "{request}");
        assert_eq!(request["body"], r#"{"id":"a b","source":"chat"}"#);
        let headers = request["headers"].as_array().unwrap();
        let header =
            |name: &str| headers.iter().find(|header| header["name"] == name).unwrap()["value"].clone();
        assert_eq!(header("authorization"), "***");
        assert_eq!(header("x-key"), "k=***");
        assert_eq!(header("x-plain"), "for a b");
        assert_eq!(header("idempotency-key"), sent.headers["idempotency-key"].to_str().unwrap());
        assert_eq!(called["response"]["status"], 200);
        assert_eq!(called["response"]["body"], r#"{"found":true}"#);
        assert_eq!(server.row_counts().await, before, "nothing is stored");

        tested(&server, "canary", &body).await;
        let keys: Vec<_> = server
            .tool
            .calls()
            .all()
            .iter()
            .map(|call| call.request.headers["idempotency-key"].clone())
            .collect();
        assert_ne!(keys[0], keys[1]);
    }
);

both_backends!(
    async fn a_failed_test_call_reports_the_reason(db: TestDb) {
        let server = TestServer::start(&db).await;
        let order = json!({ "arguments": { "order_id": "7" } });
        let huge = vec![b'x'; 1024 * 1024 + 1];

        for (reply, error, status) in [
            (
                ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR).with_body("boom"),
                "status 500",
                json!(500),
            ),
            (
                ToolReply::status(StatusCode::FOUND).with_header(http::header::LOCATION, "/x"),
                "redirect",
                json!(302),
            ),
            (ToolReply::status(StatusCode::OK).with_body(huge), "too large", json!(200)),
            (
                ToolReply::status(StatusCode::OK).after(Duration::from_secs(2)),
                "did not answer within 1 s",
                Value::Null,
            ),
        ] {
            server.tool.script().queue([reply]);
            let called = tested(&server, "orders", &order).await;
            assert!(called["result"]["error"].as_str().unwrap().contains(error), "{called}");
            assert_eq!(called["response"]["status"], status, "{called}");
            assert_eq!(called["request"]["method"], "GET");
        }
        let calls = server.tool.calls().all().len();
        let wrong = tested(&server, "orders", &json!({ "arguments": { "order_id": 7 } })).await;
        assert!(
            wrong["result"]["error"].as_str().unwrap().contains("do not fit the tool's schema"),
            "{wrong}"
        );
        assert_eq!(wrong.get("request"), None);
        assert_eq!(server.tool.calls().all().len(), calls, "nothing was sent");
    }
);

both_backends!(
    async fn a_test_call_reads_a_calendar_and_never_books(db: TestDb) {
        let server = TestServer::start(&db).await;
        let before = server.row_counts().await;

        let days = json!({ "arguments": { "start_date": "2026-03-18", "end_date": "2026-03-18" } });
        let free = tested(&server, "availability", &days).await;
        let booking = json!({ "arguments": { "start": "2026-03-18T10:00", "title": "Demo" } });
        let booked = test(&server, "booking", &booking).await;
        let cancelled = test(&server, "cancelling", &json!({ "arguments": { "booking_id": "bkg_1" } })).await;

        assert_eq!(free["result"]["available_slots"], json!(["2026-03-18 10:00"]));
        assert_eq!((booked.status, cancelled.status), (409, 409));
        let text =
            "The tool 'booking' changes a calendar: a test call must not. Try it in a test conversation.";
        assert_eq!(booked.json()["message"], text);
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn an_invalid_or_forbidden_test_call_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let id = tool(&server, "orders").await["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/tools/{id}/test");
        let post = |path: &str, key: &str, body: &str| {
            server.request("POST", path).bearer(key).raw_json(body).send()
        };
        let all = server.keys.full.clone();

        for (body, text) in [
            ("[]", "Request body must be a JSON object."),
            ("{", "Request body is not valid JSON."),
            (r#"{"arguments": 5}"#, "Field 'arguments' must be an object."),
            (r#"{"variables": "x"}"#, "Field 'variables' must be an object."),
            (r#"{"arguments": {"a": "\u0000"}}"#, "Field 'arguments' contains an invalid character."),
        ] {
            let answer = post(&path, &all, body).await;
            assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some(text)), "{body}");
        }
        assert_eq!(post(&path, &server.keys.read_only, "{}").await.status, 403);
        for name in ["x", "tool_00000000000000000000000000", "tol_1"] {
            let answer = post(&format!("/v1/tools/{name}/test"), &all, "{}").await;
            let text = format!("Tool not found: {name}.");
            assert_eq!((answer.status, answer.json()["message"].as_str()), (404, Some(text.as_str())));
            assert_eq!(server.get(&format!("/v1/tools/{name}")).await.text(), answer.text());
        }
        let foreign = post(&path, &server.keys.other_workspace, "{}").await;
        assert_eq!((foreign.status, foreign.header("rejoinder-error")), (404, Some("tool_not_found")));
        assert!(server.tool.calls().all().is_empty());
    }
);
