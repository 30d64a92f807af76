//! A secret that an MCP server sends back is not logged at any level.

use http::StatusCode;
use serde_json::json;

use super::misbehaving_servers::{result, script_server_with_list};
use crate::support::binary::Sandbox;
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::workspaces::{QUERY_KEY, SIGNING, TOKEN, workspace};

fn token(request: &ToolRequest) -> String {
    request.headers["authorization"].to_str().unwrap().to_owned()
}

/// Sends the secret back in the tool list, a result, an error and an HTTP error.
fn script(mcp: &FakeTool) {
    let list = |request: &ToolRequest| {
        let schema = json!({ "type": "object" });
        result(
            request,
            &json!({ "tools": [{ "name": "say", "description": token(request), "inputSchema": schema }] }),
        )
    };
    let mut nth = 0;
    let call = move |request: &ToolRequest| {
        nth += 1;
        let error = json!({ "jsonrpc": "2.0", "id": request.json()["id"], "error": { "code": -1, "message": token(request) } });
        match nth % 3 {
            0 => result(request, &json!({ "content": [{ "type": "text", "text": token(request) }] })),
            1 => ToolReply::json(&error),
            _ => ToolReply::status(StatusCode::BAD_GATEWAY).with_body(token(request)),
        }
    };
    script_server_with_list(mcp, list, call);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_a_server_is_in_the_logs() {
    let (model, tool, mcp) = (FakeModel::start().await, FakeTool::start().await, FakeTool::start().await);
    script(&mcp);
    model.script().respond_with(|request| {
        if request.messages().last().is_some_and(|last| last["role"] == "tool") {
            return Reply::text("Done.");
        }
        Reply::tool_calls([ToolCall::new("say", &json!({}))])
    });
    let (base_url, hosts) = (model.base_url(), format!("{},{}", tool.host(), mcp.host()));
    let sandbox = Sandbox::new();
    let (server, log) = sandbox
        .start_server_with_trace_log(&[
            ("OPENAI_BASE_URL", &base_url),
            ("OPENAI_MODEL", "fake"),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &hosts),
        ])
        .await;
    let text = workspace(&tool);
    let text = super::with_mcp_tool(
        text.split("[[conversations]]").next().unwrap(),
        &mcp.url("/mcp"),
        "headers = { authorization = { env = \"TOKEN\" } }",
    );
    // The demo workspace already has this slug and this assistant.
    let text = text.replace("slug = \"demo\"", "slug = \"mine\"").replace("550e8400", "550e8401");
    let env = [
        ("TOKEN", TOKEN),
        ("QUERY_KEY", QUERY_KEY),
        ("SIGNING", SIGNING),
        ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &hosts),
        ("RUST_LOG", "trace"),
    ];
    let (key, applied) = sandbox.apply_workspace("mine", &text, &env);
    let output = applied.stdout + &applied.stderr;
    assert!(!output.contains("canary-t0ken"), "{output}");

    server.exchange_messages(&key, 3).await;

    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        log.lines().any(|line| line.contains("an MCP server gave no result")),
        "the log says what failed"
    );
    assert_eq!(log.lines().find(|line| line.contains("canary-t0ken")), None);
}
