//! Bounds on the answers of an MCP server: their size, their ids and their content.

use http::StatusCode;
use serde_json::{Value, json};

use super::misbehaving_servers::{call_say, event_stream, result, script_server, script_server_with_list};
use super::{offered, reapply, refresh, with_mcp};
use crate::support::db::both_backends;
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::script::Gate;
use crate::support::server::TestServer;
use crate::support::wait::wait_for;
use crate::v1::tools::{test, tool};

fn hi(request: &ToolRequest) -> ToolReply {
    result(request, &json!({ "content": [{ "type": "text", "text": "hi" }] }))
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

fn calls(fake: &FakeTool) -> usize {
    let calls = fake.calls().all();
    let posts = calls.iter().filter(|call| call.request.method == http::Method::POST);
    posts.filter(|call| call.request.json()["method"] == "tools/call").count()
}

both_backends!(
    async fn an_error_with_a_wrong_id_is_reported_at_once(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, hi);
        let server = with_mcp(&fake.url("/mcp"), "timeout = \"20s\"").start(&db).await;
        let began = std::time::Instant::now();

        for id in [json!(null), json!("another"), json!(99)] {
            let body = error(&id, -32_098, &"x".repeat(100_000));
            let as_json = ToolReply::json(&body);
            let as_event = event_stream(format!("data: {body}\n\n"));
            for reply in [as_json, as_event] {
                script_server(&fake, move |_| reply.clone());
                let answer = call_say(&server).await;
                let text = answer["error"].as_str().unwrap();
                assert!(text.starts_with("The MCP server answered with an error: xxx"), "{text}");
                assert!(text.len() < 1_100, "{}", text.len());
            }
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    }
);

both_backends!(
    async fn a_session_refused_with_400_is_renewed_and_the_call_sent_once(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, hi);
        let server = with_mcp(&fake.url("/mcp"), "timeout = \"10s\"").start(&db).await;

        let unknown = || {
            let body = error(&Value::Null, -32_000, "Bad Request: no valid session ID provided");
            ToolReply::status(StatusCode::BAD_REQUEST)
                .with_header(http::header::CONTENT_TYPE, "application/json")
                .with_body(body.to_string())
        };
        let mut gone = true;
        script_server(&fake, move |request| if std::mem::take(&mut gone) { unknown() } else { hi(request) });
        assert_eq!(call_say(&server).await, json!({ "result": "hi" }));
        assert_eq!(calls(&fake), 2);

        script_server(&fake, move |_| unknown());
        let answer = call_say(&server).await;
        assert!(answer["error"].as_str().unwrap().contains("session"), "{answer}");
        assert_eq!(calls(&fake), 4, "retried exactly once");

        let own = |request: &ToolRequest| {
            let body = error(&request.json()["id"], -32_602, "Wrong");
            ToolReply::status(StatusCode::BAD_REQUEST)
                .with_header(http::header::CONTENT_TYPE, "application/json")
                .with_body(body.to_string())
        };
        script_server(&fake, own);
        assert_eq!(
            call_say(&server).await,
            json!({ "error": "The MCP server answered with an error: Wrong" })
        );
        assert_eq!(calls(&fake), 5, "the error belongs to this call");
    }
);

both_backends!(
    async fn notifications_beside_an_answer_are_ignored_and_bounded(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, hi);
        let server = with_mcp(&fake.url("/mcp"), "timeout = \"10s\"").start(&db).await;
        let beside = [
            json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x" } }),
            json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" }),
            json!({ "jsonrpc": "2.0", "id": 8, "method": "roots/list" }),
            json!({ "jsonrpc": "2.0", "id": 12_345, "result": { "content": [] } }),
        ];
        let events = beside.iter().map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>().concat();

        let first = events.clone();
        script_server(&fake, move |request| {
            let id = request.json()["id"].clone();
            let result = json!({ "content": [{ "type": "text", "text": "hi" }] });
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            event_stream(format!("{}: ping\n\ndata: {answer}\n\n", first.repeat(500)))
        });
        assert_eq!(call_say(&server).await, json!({ "result": "hi" }));
        let answers = fake
            .calls()
            .all()
            .iter()
            .filter(|call| {
                call.request.method == http::Method::POST && call.request.json().get("method").is_none()
            })
            .count();
        assert_eq!(answers, 0, "no request of the server is answered");

        script_server(&fake, move |_| event_stream(events.repeat(5_000)));
        let answer = call_say(&server).await;
        assert!(answer["error"].as_str().unwrap().contains("the answer is too large"), "{answer}");
    }
);

both_backends!(
    async fn an_endless_tool_list_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let fake = FakeTool::start().await;
        let tool = |name: &str, text: usize| json!({ "name": name, "description": "x".repeat(text), "inputSchema": { "type": "object" } });

        for (tools, cursor, problem) in [
            (json!([]), "c".to_owned(), "more than 50 pages"),
            (json!([tool("a", 900_000)]), "c".to_owned(), "more than 4194304 bytes"),
            (json!([tool("a", 1)]), "c".repeat(2_000), "a cursor of more than 1024 bytes"),
        ] {
            let mut page = 0;
            let list = move |request: &ToolRequest| {
                page += 1;
                result(request, &json!({ "tools": tools, "nextCursor": format!("{page}{cursor}") }))
            };
            script_server_with_list(&fake, list, hi);
            let refused = reapply(&server, &fake.url("/mcp"), "timeout = \"30s\"").await.unwrap_err();
            assert!(refused.to_string().contains(problem), "{problem}: {refused}");
        }
    }
);

both_backends!(
    async fn secrets_in_a_tool_list_are_masked(db: TestDb) {
        let fake = FakeTool::start().await;
        let list = |request: &ToolRequest| {
            let token = request.headers["authorization"].to_str().unwrap();
            let schema = json!({ "type": "object", "properties": { "a": { "description": token, "default": token } } });
            let odd = json!({ "name": format!("no name {token}"), "inputSchema": schema });
            let say =
                json!({ "name": "say", "description": format!("Sends {token}"), "inputSchema": schema });
            result(request, &json!({ "tools": [odd, say] }))
        };
        script_server_with_list(&fake, list, hi);
        let token = "headers = { authorization = { env = \"TOKEN\" } }";
        let server = with_mcp(&fake.url("/mcp"), token).start(&db).await;

        let applied = reapply(&server, &fake.url("/mcp"), token).await.unwrap();
        let refreshed = refresh(&server).await;
        let listed = tool(&server, "crm").await;
        offered(&server).await;

        let asked: String =
            server.model.calls().all().iter().map(|call| call.request.body.to_string()).collect();
        assert!(asked.contains("Sends ***"), "{asked}");
        for text in [format!("{applied:?}"), refreshed.to_string(), listed.to_string(), asked] {
            assert!(!text.contains("canary"), "{text}");
        }
        assert_eq!((applied.changes.len(), &refreshed["data"]["changed"]), (0, &json!(false)));
    }
);

both_backends!(
    async fn a_server_that_refuses_loses_its_tool_list(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, hi);
        let server = with_mcp(&fake.url("/mcp"), "").start(&db).await;

        for (status, is_kept) in
            [(401, false), (403, false), (410, false), (302, false), (503, true), (429, true)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            fake.script().respond_with(move |_| ToolReply::status(status));
            let applied = reapply(&server, &fake.url("/mcp"), "").await;
            assert_eq!(applied.is_ok(), is_kept, "{status}: {applied:?}");
        }
        let tried = refresh(&server).await;
        assert!(tried["message"].as_str().unwrap().ends_with("Please retry."), "{tried}");
        let none = |request: &ToolRequest| result(request, &json!({ "tools": [] }));
        script_server_with_list(&fake, none, hi);
        assert!(reapply(&server, &fake.url("/mcp"), "").await.is_err());
    }
);

both_backends!(
    async fn test_calls_have_a_concurrency_limit(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, hi);
        let server = with_mcp(&fake.url("/mcp"), "timeout = \"30s\"").start(&db).await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        script_server(&fake, move |request| hi(request).gated_by(&reply_gate));

        let body = json!({});
        let trying = futures::future::join_all((0..4).map(|_| test(&server, "crm", &body)));
        let refused = async {
            wait_for("four calls", async || (calls(&fake) >= 4).then_some(())).await;
            let refused = (test(&server, "crm", &json!({})).await, refresh(&server).await);
            gate.open();
            refused
        };
        let (tried, (called, listed)) = futures::future::join(trying, refused).await;

        assert!(tried.iter().all(|answer| answer.status == 200));
        assert_eq!((called.status, called.headers["retry-after"].to_str().unwrap()), (429, "5"));
        assert_eq!(listed["message"], "Too many tools are being tested");
        assert_eq!(test(&server, "crm", &json!({})).await.status, 200);
    }
);
