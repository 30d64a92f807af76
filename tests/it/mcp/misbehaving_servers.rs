//! MCP servers that are invalid, misbehave, or are not allowed.

use std::time::{Duration, Instant};

use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::{reapply, with_mcp};
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{TestServer, WIDGET};

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

pub(super) fn result(request: &ToolRequest, result: &Value) -> ToolReply {
    let id = request.json()["id"].clone();
    ToolReply::json(&json!({ "jsonrpc": "2.0", "id": id, "result": result })).with_header(SESSION, "s1")
}

/// Scripts a server that lists one tool, `say`, and answers its calls with `call`.
pub(super) fn script_server(fake: &FakeTool, call: impl FnMut(&ToolRequest) -> ToolReply + Send + 'static) {
    let schema = json!({ "type": "object" });
    let tools = json!({ "tools": [{ "name": "say", "inputSchema": schema }] });
    script_server_with_list(fake, move |request| result(request, &tools), call);
}

/// Scripts a server that answers `tools/list` with `list`, and calls with `call`.
pub(super) fn script_server_with_list(
    fake: &FakeTool,
    mut list: impl FnMut(&ToolRequest) -> ToolReply + Send + 'static,
    mut call: impl FnMut(&ToolRequest) -> ToolReply + Send + 'static,
) {
    fake.script().respond_with(move |request| {
        if request.method != http::Method::POST {
            return ToolReply::status(StatusCode::OK);
        }
        match request.json()["method"].as_str() {
            Some("initialize") => {
                let info = json!({ "name": "fake", "version": "1" });
                let body = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} }, "serverInfo": info });
                result(request, &body)
            }
            Some("tools/list") => list(request),
            Some("tools/call") => call(request),
            _ => ToolReply::status(StatusCode::ACCEPTED),
        }
    });
}

pub(super) fn event_stream(body: impl Into<axum::body::Bytes>) -> ToolReply {
    ToolReply::status(StatusCode::OK).with_header(header::CONTENT_TYPE, "text/event-stream").with_body(body)
}

pub(super) async fn call_say(server: &TestServer) -> Value {
    server
        .model
        .script()
        .queue([Reply::tool_calls([ToolCall::new("say", &json!({}))]), Reply::text("Done.")]);
    let answer = server.post_message(WIDGET, "Please").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["function_calls"][0]["result"].clone()
}

both_backends!(
    async fn an_endpoint_that_is_not_an_mcp_server_is_refused_at_configuration(db: TestDb) {
        let server = TestServer::start(&db).await;
        let fake = FakeTool::start().await;
        let elsewhere = FakeTool::start().await;
        let location = elsewhere.url("/mcp");

        for (reply, problem) in [
            (ToolReply::status(StatusCode::FOUND).with_header(header::LOCATION, &location), "status 302"),
            (ToolReply::status(StatusCode::OK).with_body("<html>hello</html>"), "not of the protocol"),
            (ToolReply::json(&json!({ "ok": true })), "not of the protocol"),
            (ToolReply::json(&json!([])), "not of the protocol"),
            (event_stream("data: nonsense\n\n"), "not of the protocol"),
            (event_stream("event: message\n\n\n\n"), "its answer ended too early"),
            (event_stream(vec![b'x'; 1024 * 1024 + 1]), "the answer is too large"),
            (ToolReply::json(&json!({ "x": "y".repeat(1024 * 1024) })), "the answer is too large"),
            (ToolReply::status(StatusCode::NOT_FOUND), "status 404"),
            (ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR), "status 500"),
        ] {
            fake.script().respond_with(move |_| reply.clone());
            let refused =
                reapply(&server, &fake.url("/mcp"), "timeout = \"5s\"").await.unwrap_err().to_string();
            assert!(refused.contains(problem), "{problem}: {refused}");
        }
        assert!(elsewhere.calls().all().is_empty(), "no redirect is followed");
    }
);

both_backends!(
    async fn a_hanging_server_times_out(db: TestDb) {
        let server = TestServer::start(&db).await;
        let fake = FakeTool::start().await;
        let gate = Gate::closed();
        let gated = ToolReply::status(StatusCode::OK).gated_by(&gate);
        fake.script().respond_with(move |_| gated.clone());
        let began = Instant::now();

        let refused = reapply(&server, &fake.url("/mcp"), "timeout = \"1s\"").await.unwrap_err().to_string();

        assert!(refused.contains("no answer within 1 s") || refused.contains("in time"), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        gate.open();
    }
);

both_backends!(
    async fn an_invalid_answer_is_reported_and_the_next_call_works(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, |_| ToolReply::status(StatusCode::OK));
        let server = with_mcp(&fake.url("/mcp"), "timeout = \"5s\"").start(&db).await;
        let good = |request: &ToolRequest| {
            result(request, &json!({ "content": [{ "type": "text", "text": "hi" }] }))
        };

        for (reply, problem) in [
            (ToolReply::status(StatusCode::OK).with_body("<html>"), "could not be read"),
            (event_stream(": nothing\n\n"), "its answer ended too early"),
            (event_stream(vec![b'x'; 1024 * 1024 + 1]), "the answer is too large"),
            (ToolReply::status(StatusCode::BAD_GATEWAY), "failed with status 502"),
            (ToolReply::status(StatusCode::FORBIDDEN), "refused the call with status 403"),
            (ToolReply::status(StatusCode::FOUND), "redirect (status 302), which is not followed"),
        ] {
            script_server(&fake, move |_| reply.clone());
            let answer = call_say(&server).await;
            assert!(answer["error"].as_str().unwrap().contains(problem), "{problem}: {answer}");
            script_server(&fake, good);
            assert_eq!(call_say(&server).await, json!({ "result": "hi" }), "after: {problem}");
        }
        script_server(&fake, |request| {
            let error = json!({ "code": -32000, "message": "Busy" });
            ToolReply::json(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "error": error }))
        });
        assert_eq!(
            call_say(&server).await,
            json!({ "error": "The MCP server answered with an error: Busy" })
        );
    }
);

both_backends!(
    async fn an_expired_session_is_renewed_and_the_call_sent_once(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, |_| ToolReply::status(StatusCode::OK));
        let server = with_mcp(&fake.url("/mcp"), "").start(&db).await;
        let mut gone = true;
        script_server(&fake, move |request| {
            if std::mem::take(&mut gone) {
                return ToolReply::status(StatusCode::NOT_FOUND);
            }
            result(request, &json!({ "content": [{ "type": "text", "text": "hi" }] }))
        });

        assert_eq!(call_say(&server).await, json!({ "result": "hi" }));

        let calls = fake.calls().all();
        let posts = calls.iter().filter(|call| call.request.method == http::Method::POST);
        let methods: Vec<_> = posts.map(|call| call.request.json()["method"].clone()).collect();
        assert_eq!(methods.iter().filter(|method| **method == "tools/call").count(), 2, "{methods:?}");
    }
);

both_backends!(
    async fn a_host_that_is_no_longer_allowed_is_not_called(db: TestDb) {
        let fake = FakeTool::start().await;
        script_server(&fake, |request| result(request, &json!({ "content": [] })));
        let server = with_mcp(&fake.url("/mcp"), "").start(&db).await;
        assert_eq!(call_say(&server).await, json!({ "result": "" }));
        seed::configure(&db, "update workspaces set allow_hosts = ''").await;
        let before = fake.calls().all().len();

        let refused = call_say(&server).await;

        assert_eq!(
            refused,
            json!({ "error": "The call was not sent: the URL's host is not a public address." })
        );
        assert_eq!(fake.calls().all().len(), before);
    }
);
