//! Turns in which the model calls the tools of an MCP server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::McpServer;
use super::with_mcp;
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::server::{TestServer, WIDGET};
use crate::support::wait::wait_for;

/// The result of a call in a widget response.
async fn call_tool(server: &TestServer, name: &str, arguments: &Value) -> Value {
    server.model.script().queue([Reply::tool_calls([ToolCall::new(name, arguments)]), Reply::text("Done.")]);
    let answer = server.post_message(WIDGET, "Please").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["function_calls"][0]["result"].clone()
}

fn error(result: &Value) -> &str {
    result["error"].as_str().unwrap_or_else(|| panic!("{result}"))
}

both_backends!(
    async fn a_turn_calls_the_tools_of_a_server_and_returns_their_results(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;

        let found = call_tool(&server, "find_customer", &json!({ "name": "Ada" })).await;
        let text = call_tool(&server, "say", &json!({ "text": "hi" })).await;
        let image = call_tool(&server, "picture", &json!({})).await;
        let failed = call_tool(&server, "fail", &json!({})).await;
        let steps = call_tool(&server, "steps", &json!({})).await;
        let wrong = call_tool(&server, "say", &json!({ "text": 5 })).await;

        assert_eq!(found, json!({ "name": "Ada", "orders": 3 }), "structured content is shown as it is");
        assert_eq!(text, json!({ "result": "You said: hi" }));
        assert_eq!(image, json!({ "result": "Look:\n[an image, image/png, is not shown]" }));
        assert!(error(&failed).contains("no such customer"), "{failed}");
        assert_eq!(steps, json!({ "result": "done" }), "notifications before the result are ignored");
        assert!(error(&wrong).contains("do not fit the tool's schema"), "{wrong}");
        let offered = &server.model.calls().all()[0].request.body["tools"][2]["function"];
        assert_eq!(offered["description"], "Finds a customer by name");
        assert_eq!(offered["parameters"]["required"], json!(["name"]));
        let sessions = mcp.sessions();
        assert_eq!(sessions.len(), 2, "one to list, one for all calls: {:?}", mcp.requests());

        server.stop().await;

        let goodbyes = || mcp.requests().iter().filter(|line| line.starts_with("DELETE")).count();
        wait_for("both sessions to be closed", async || (goodbyes() == 2).then_some(())).await;
    }
);

both_backends!(
    async fn a_server_may_answer_without_a_stream(db: TestDb) {
        let mcp = McpServer::start_with(&[("JSON", "1")]).await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;

        assert_eq!(
            call_tool(&server, "say", &json!({ "text": "hi" })).await,
            json!({ "result": "You said: hi" })
        );
    }
);

both_backends!(
    async fn a_slow_tool_times_out_and_delays_no_other(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "timeout = \"1s\"").start(&db).await;
        call_tool(&server, "say", &json!({ "text": "hi" })).await;
        let calls = [("slow", json!({ "seconds": 20 })), ("say", json!({ "text": "hi" }))];
        let calls = calls.map(|(name, arguments)| ToolCall::new(name, &arguments));
        server.model.script().queue([Reply::tool_calls(calls), Reply::text("Done.")]);
        let began = Instant::now();

        let answer = server.post_message(WIDGET, "Please").send().await.json();

        let calls = &answer["function_calls"];
        let text = "The MCP server did not answer within 1 s. The call may or may not have taken effect.";
        assert_eq!(calls[0]["result"], json!({ "error": text }));
        assert_eq!(calls[1]["result"], json!({ "result": "You said: hi" }));
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert_eq!(
            call_tool(&server, "say", &json!({ "text": "on" })).await,
            json!({ "result": "You said: on" })
        );
    }
);

both_backends!(
    async fn a_long_result_is_truncated_and_an_oversized_one_is_an_error(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;

        let long = call_tool(&server, "huge", &json!({ "kib": 300 })).await;
        let too_long = call_tool(&server, "huge", &json!({ "kib": 1_100 })).await;
        let after = call_tool(&server, "say", &json!({ "text": "hi" })).await;

        let seen = server.model.calls().all()[1].request.last_text("tool").unwrap();
        let seen: Value = serde_json::from_str(&seen).unwrap();
        let text = seen["result"].as_str().unwrap();
        assert!(text.len() < 256 * 1024 && text.ends_with("[cut here: the whole answer has 307200 bytes]"));
        assert_eq!(long["shortened_from_bytes"], seen.to_string().len());
        assert!(text.starts_with(long["result"].as_str().unwrap().trim_end_matches('…')));
        assert!(error(&too_long).contains("the answer is too large"), "{too_long}");
        assert_eq!(after, json!({ "result": "You said: hi" }));
    }
);

both_backends!(
    async fn a_restarted_server_is_reconnected_and_a_missing_one_reported(db: TestDb) {
        let mcp = McpServer::start().await;
        let (url, port) = (mcp.url(), mcp.port());
        let server = with_mcp(&url, "timeout = \"8s\"").start(&db).await;
        assert_eq!(call_tool(&server, "count", &json!({})).await, json!({ "result": "1" }));
        assert_eq!(call_tool(&server, "count", &json!({})).await, json!({ "result": "2" }));

        mcp.stop();
        let gone = call_tool(&server, "count", &json!({})).await;
        let mcp = McpServer::start_with(&[("PORT", &port)]).await;
        let back = call_tool(&server, "count", &json!({})).await;

        assert_eq!(gone, json!({ "error": "No connection to the MCP server could be made." }));
        assert_eq!(back, json!({ "result": "1" }), "{:?}", mcp.requests());
    }
);

both_backends!(
    async fn a_server_restart_between_two_calls_is_not_visible(db: TestDb) {
        let mcp = McpServer::start().await;
        let port = mcp.port();
        let server = with_mcp(&mcp.url(), "").start(&db).await;
        assert_eq!(call_tool(&server, "count", &json!({})).await, json!({ "result": "1" }));

        mcp.stop();
        let _mcp = McpServer::start_with(&[("PORT", &port)]).await;

        assert_eq!(call_tool(&server, "count", &json!({})).await, json!({ "result": "1" }));
    }
);

both_backends!(
    async fn many_calls_share_one_session(db: TestDb) {
        let mcp = McpServer::start().await;
        let server = with_mcp(&mcp.url(), "").start(&db).await;
        server.model.script().respond_with(|request| {
            if request.messages().last().is_some_and(|last| last["role"] == "tool") {
                return Reply::text("Done.");
            }
            Reply::tool_calls(["a", "b"].map(|text| ToolCall::new("say", &json!({ "text": text }))))
        });
        let mut uuids = Vec::new();
        for _ in 0..8 {
            uuids.push(server.create_conversation().await);
        }

        let answers = uuids.iter().map(|uuid| server.post_message(uuid, "Please").send());
        let answers = futures::future::join_all(answers).await;

        for answer in answers {
            let calls = answer.json()["function_calls"].clone();
            assert_eq!(calls[0]["result"], json!({ "result": "You said: a" }), "{calls}");
            assert_eq!(calls[1]["result"], json!({ "result": "You said: b" }), "{calls}");
        }
        assert_eq!(mcp.sessions().len(), 2, "{:?}", mcp.requests());
    }
);

both_backends!(
    async fn a_secret_header_authenticates_and_never_leaks(db: TestDb) {
        let mcp = McpServer::start_with(&[("TOKEN", "canary-t0ken")]).await;
        let more = r#"headers = { authorization = { env = "TOKEN" }, x-plain = "plain" }"#;
        let server = with_mcp(&mcp.url(), more).start(&db).await;

        let identity = call_tool(&server, "whoami", &json!({})).await;

        let text = identity["result"].as_str().unwrap();
        assert!(text.contains("'authorization': '***'") && text.contains("'x-plain': 'plain'"), "{text}");
        let all =
            server.model.calls().all().iter().map(|call| call.request.body.to_string()).collect::<String>();
        assert!(!all.contains("canary"), "{all}");
        let events = server.get("/v1/events?limit=200").await;
        assert!(!events.text().contains("canary"), "{}", events.text());
    }
);

both_backends!(
    async fn a_running_call_does_not_delay_a_stop(db: TestDb) {
        let mcp = McpServer::start().await;
        let server =
            with_mcp(&mcp.url(), "timeout = \"30s\"").env("REJOINDER_SHUTDOWN_GRACE", "1s").start(&db).await;
        let uuid = server.create_conversation().await;
        let call = ToolCall::new("slow", &json!({ "seconds": 60 }));
        server.model.script().queue([Reply::tool_calls([call])]);
        let request = server.post_message(&uuid, "Please");
        let waiting = tokio::spawn(request.send());
        let posts = async || (mcp.requests().len() >= 7).then_some(());
        wait_for("the call to arrive", posts).await;
        let began = Instant::now();

        server.stop().await;

        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_ne!(waiting.await.unwrap().status, 200);
    }
);
