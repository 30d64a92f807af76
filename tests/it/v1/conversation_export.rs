//! A conversation is exported as one document.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::Response;
use crate::support::server::TestServer;

async fn export(server: &TestServer, id: &str, query: &str) -> Response {
    let path = format!("/v1/conversations/{id}/export{query}");
    server.request("GET", &path).bearer(&server.keys.export).send().await
}

/// A conversation with a message, and a reply with a call.
async fn conversation(server: &TestServer) -> String {
    let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
    server.model.script().queue([Reply::tool_calls([call]), Reply::text("Shipped.\n\n# Not a heading")]);
    let body = json!({ "sender_id": "usr_1", "sender_type": "user", "text": "Where is order 7?" });
    let sent = server.enqueue(body.to_string()).send().await.json();
    let con = sent["data"]["conversation_id"].as_str().unwrap().to_owned();
    server.wait_for_messages(&con, 2).await;
    con
}

both_backends!(
    async fn json_has_the_conversation_and_all_messages(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let con = conversation(&server).await;

        let exported = export(&server, &con, "").await;

        assert_eq!((exported.status, exported.header("content-type")), (200, Some("application/json")));
        let file = format!("attachment; filename=\"{con}.json\"");
        assert_eq!(exported.header("content-disposition"), Some(&*file));
        let document = exported.json();
        let read = server.get(&format!("/v1/conversations/{con}")).await.json();
        assert_eq!(document["conversation"], read["data"]);
        assert_eq!(document["messages"], Value::Array(server.messages(&con).await));
        assert_eq!(document["messages"][1]["function_calls"][0]["result"], json!({ "ok": true }));
        assert_eq!(document["exported_at"], "2026-03-15T14:22:11Z");
    }
);

both_backends!(
    async fn markdown_quotes_every_text(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = conversation(&server).await;

        let exported = export(&server, &con, "?format=markdown").await;

        assert_eq!(exported.header("content-type"), Some("text/markdown; charset=utf-8"));
        assert!(exported.header("content-disposition").unwrap().ends_with(".md\""));
        let text = exported.text();
        assert!(text.starts_with(&format!("# Conversation {con}\n")), "{text}");
        assert!(text.contains("\n## User `usr_1`\n"), "{text}");
        assert!(text.contains("\n> Where is order 7?\n"), "{text}");
        assert!(
            text.contains(
                "\nCalls `get_order_status` with `{\"order_id\":\"7\"}`, and gets `{\"ok\":true}`\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n> Shipped.\n>\n> # Not a heading\n"), "{text}");
        assert_eq!(export(&server, &con, "?format=xml").await.status, 400);
    }
);

both_backends!(
    async fn a_long_conversation_is_exported_whole(db: TestDb) {
        let server = TestServer::start(&db).await;
        let text = "ü".repeat(9_000);
        let con = server.store_message(None, &text).await;
        for _ in 1..180 {
            server.store_message(Some(&con), &text).await;
        }

        let exported = export(&server, &con, "").await;

        assert!(exported.body.len() > 3 << 20, "{}", exported.body.len());
        let messages = exported.json()["messages"].as_array().unwrap().clone();
        assert_eq!(messages.len(), 180);
        assert!(messages.iter().all(|message| message["text"] == text.as_str()));
    }
);

both_backends!(
    async fn an_export_needs_its_scope_and_is_entered_into_the_audit_log(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "Hi").await;
        let path = format!("/v1/conversations/{con}/export");
        let entries =
            async || server.query_number("select count(*) from audit_log where action = 'exported'").await;

        for key in [&server.keys.full, &server.keys.read_only] {
            assert_eq!(server.request("GET", &path).bearer(key).send().await.status, 403);
        }
        assert_eq!(export(&server, "con_00000000000000000000000001", "").await.status, 404);
        assert_eq!(entries().await, 0);
        assert_eq!(export(&server, &con, "").await.status, 200);
        assert_eq!(entries().await, 1);
        let count = format!(
            "select count(*) from audit_log where object_kind = 'conversation' and object_id = '{con}' \
            and object_name is null and fields_before is null and fields_after is null"
        );
        assert_eq!(server.query_number(&count).await, 1);
    }
);

both_backends!(
    async fn a_head_request_leaves_no_entry_in_the_audit_log(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "Hi").await;
        let path = format!("/v1/conversations/{con}/export");
        let exports = "select count(*) from audit_log where action = 'exported'";

        let head = server.request("HEAD", &path).bearer(&server.keys.export).send().await;
        let log = server.request("HEAD", "/v1/audit").bearer(&server.keys.full);
        let log = log.header("accept", "application/x-ndjson").send().await;
        let before = server.query_number(exports).await;
        export(&server, &con, "").await;

        assert_eq!((head.status, head.text(), log.status), (200, "", 200));
        assert_eq!(head.header("content-type"), Some("application/json"));
        assert_eq!((before, server.query_number(exports).await), (0, 1));
    }
);
