//! What an MCP server, a model or an embeddings endpoint sends back, a secret or what a person wrote, is not logged at any level.

use http::StatusCode;
use serde_json::json;

use super::misbehaving_servers::{result, script_server, script_server_with_list};
use crate::support::binary::{Sandbox, ServerProcess};
use crate::support::fake_embeddings::{self, FakeEmbeddings};
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::wait::wait_for;
use crate::support::workspaces::{MINE, QUERY_KEY, SIGNING, TOKEN, workspace};

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

/// What a person writes, and every endpoint quotes when it refuses it.
const CONFESSION: &str = "my rash is spreading";

/// Calls the MCP tool, then the search, and refuses the next request. All of them quote the person.
fn script_quoting(model: &FakeModel, mcp: &FakeTool, embeddings: &FakeEmbeddings) {
    let quote = || format!("not accepted: {CONFESSION}");
    script_server(mcp, move |request| {
        let error = json!({ "code": -32602, "message": quote() });
        ToolReply::json(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "error": error }))
    });
    embeddings.script().respond_with(move |request| {
        if !fake_embeddings::texts(request).iter().any(|text| text.contains(CONFESSION)) {
            return fake_embeddings::embed(request);
        }
        let error = json!({ "error": { "message": quote(), "code": quote() } });
        ToolReply::status(StatusCode::BAD_REQUEST).with_body(error.to_string())
    });
    model.script().respond_with(move |request| {
        let results = request.messages().iter().filter(|message| message["role"] == "tool").count();
        match results {
            0 => Reply::tool_calls([ToolCall::new("say", &json!({ "text": CONFESSION }))]),
            1 => Reply::tool_calls([ToolCall::new("search_knowledge_base", &json!({ "query": CONFESSION }))]),
            _ => Reply::error(StatusCode::BAD_REQUEST, &quote()),
        }
    });
}

/// Sends the text, waits until its turn has failed, and returns the turn.
async fn fail_turn(server: &ServerProcess, key: &str) -> serde_json::Value {
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": CONFESSION });
    let sent = server.http.post("/v1/messages", &body).bearer(key).send().await;
    let path = format!("/v1/turns/{}", sent.header("rejoinder-turn").expect("a turn"));
    let look = async || {
        let turn = server.http.get(&path).bearer(key).send().await.json()["data"].clone();
        (turn["state"] == "failed").then_some(turn)
    };
    wait_for("the turn to fail", look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_endpoints_quote_of_a_person_is_in_the_logs() {
    let (model, mcp, embeddings) =
        (FakeModel::start().await, FakeTool::start().await, FakeEmbeddings::start().await);
    script_quoting(&model, &mcp, &embeddings);
    let (base_url, embeddings_url) = (model.base_url(), embeddings.base_url());
    let sandbox = Sandbox::new();
    let (server, log) = sandbox
        .start_server_with_trace_log(&[
            ("OPENAI_BASE_URL", &base_url),
            ("OPENAI_MODEL", "fake"),
            ("REJOINDER_EMBEDDINGS__BASE_URL", &embeddings_url),
            ("REJOINDER_EMBEDDINGS__MODEL", "m"),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &mcp.host()),
        ])
        .await;
    let tools = "tools = [\"crm\", \"help\"]";
    let text = format!(
        "{MINE}\n{tools}\n[[tools]]\nslug = \"crm\"\nkind = \"mcp\"\nurl = \"{}\"\n\
         [[knowledge_bases]]\nslug = \"help\"\ndocuments = [{{ title = \"Skin\", text = \"A rash goes away.\" }}]\n\
         [[tools]]\nslug = \"help\"\nkind = \"knowledge\"\nknowledge_base = \"help\"\n",
        mcp.url("/mcp")
    );
    let (key, _) =
        sandbox.apply_workspace("mine", &text, &[("REJOINDER_OUTBOUND__ALLOW_HOSTS", &mcp.host())]);

    // A search embeds its query once the document is embedded.
    let fail = async || {
        let turn = fail_turn(&server, &key).await;
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("a query could not be embedded").then_some((turn, log))
    };
    let (turn, log) = wait_for("a query that is not embedded", fail).await;

    assert_eq!(turn["model_error"]["message"], json!(format!("not accepted: {CONFESSION}")));
    let has = |text: &str| log.lines().any(|line| line.contains(text));
    assert!(has("an MCP server gave no result") && has("error -32602"), "the log says what failed");
    assert!(has("a model call failed") && has("400 test"), "the log says what failed");
    assert_eq!(log.lines().find(|line| line.contains(CONFESSION)), None);
}
