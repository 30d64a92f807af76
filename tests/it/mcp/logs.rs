//! What a server gives away of its secret is not in the logs, at whatever level they are kept.

use std::process::Stdio;

use http::StatusCode;
use serde_json::{Value, json};

use super::misbehaving_servers::{listing, result};
use crate::support::binary::Sandbox;
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::wait::wait_for;
use crate::support::workspaces::{QUERY_KEY, SIGNING, TOKEN, workspace};

fn token(request: &ToolRequest) -> String {
    request.headers["authorization"].to_str().unwrap().to_owned()
}

/// Gives its secret away in its list, in a result, in an error, and in what is no answer.
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
    listing(mcp, list, call);
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
    let hosts = format!("{},{}", tool.host(), mcp.host());
    let sandbox = Sandbox::new();
    let log = sandbox.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let server = sandbox
        .start_server_with(|command| {
            command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_MODEL", "fake");
            command.env("REJOINDER_OUTBOUND__ALLOW_HOSTS", &hosts);
            command.env("RUST_LOG", "trace").env("REJOINDER_LOG__FORMAT", "json");
            command.stderr(Stdio::from(file))
        })
        .await;
    let text = workspace(&tool);
    let text = super::edited(
        text.split("[[conversations]]").next().unwrap(),
        &mcp.url("/mcp"),
        "headers = { authorization = { env = \"TOKEN\" } }",
    );
    // The demo has the fixed conversation already.
    let text = text.replace("slug = \"demo\"", "slug = \"mine\"").replace("550e8400", "550e8401");
    std::fs::write(sandbox.path().join("mine.toml"), text).unwrap();
    let mut apply = sandbox.command(&["apply", "mine.toml"]);
    apply.env("TOKEN", TOKEN).env("QUERY_KEY", QUERY_KEY).env("SIGNING", SIGNING);
    apply.env("REJOINDER_OUTBOUND__ALLOW_HOSTS", &hosts).env("RUST_LOG", "trace");
    let applied = apply.output().unwrap();
    let output = [applied.stdout, applied.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(applied.status.success() && !output.concat().contains("canary-t0ken"), "{output:?}");
    let key = sandbox.run(&["keys", "create", "--workspace", "mine", "--name", "t", "--json"]);
    let key: Value = serde_json::from_str(&key.out).unwrap();
    let key = key["key"].as_str().unwrap_or_else(|| panic!("{key}"));

    for _ in 0..3 {
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Please" });
        let sent = server.http.post("/v1/messages", &body).bearer(key).send().await;
        assert_eq!(sent.status, 200, "{}", sent.text());
    }
    let replied = async || {
        let events = server.http.get("/v1/events?types=message.created&limit=200").bearer(key).send().await;
        let items = events.json()["data"]["items"].as_array().unwrap().clone();
        let replies = items.iter().filter(|event| event["data"]["message"]["sender_type"] == "assistant");
        (replies.count() == 3).then_some(())
    };
    wait_for("all replies", replied).await;

    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        log.lines().any(|line| line.contains("an MCP server gave no result")),
        "the log says what failed"
    );
    assert_eq!(log.lines().find(|line| line.contains("canary-t0ken")), None);
}
