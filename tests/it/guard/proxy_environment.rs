//! The proxies of the environment are not used for tenants' URLs.

use serde_json::{Value, json};

use super::canary::Canary;
use crate::support::binary::{Sandbox, ServerProcess};
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::FakeTool;
use crate::support::wait::wait_for;

const ASSISTANT: &str = "550e8400-e29b-41d4-a716-44665544fa17";

/// The outcome of a test event sent to this URL.
async fn delivered(server: &ServerProcess, key: &str, url: &str) -> String {
    let post = |path: &str, body: &Value| server.http.post(path, body).bearer(key).send();
    let created = post("/v1/webhook_endpoints", &json!({ "url": url })).await.json();
    let path = format!("/v1/webhook_endpoints/{}", created["data"]["id"].as_str().expect("an id"));
    let sent = post(&format!("{path}/test"), &json!({})).await.json();
    let delivery = format!("{path}/deliveries/{}", sent["data"]["id"].as_str().unwrap());
    let attempted = async || {
        let delivery_body = server.http.get(&delivery).bearer(key).send().await.json();
        delivery_body["data"]["attempts"][0]["outcome"].as_str().map(str::to_owned)
    };
    wait_for("an attempt", attempted).await
}

/// A workspace whose assistant has two tools: `good` has an allowed host, `bad` calls the canary.
fn workspace(tool: &FakeTool, canary: &Canary) -> String {
    format!(
        r#"
[workspace]
slug = "guard"
name = "Guard"
balance = "1.00"

[[assistants]]
slug = "a"
id = "{ASSISTANT}"
name = "A"
system_prompt = "x"
tools = ["good", "bad"]

[[tools]]
slug = "good"
kind = "webhook"
name = "good"
description = "x"
method = "GET"
url = "{}"

[[tools]]
slug = "bad"
kind = "webhook"
name = "bad"
description = "x"
method = "GET"
url = "http://localhost:{}/"
"#,
        tool.url("/good"),
        canary.port()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_of_the_environment_are_not_used() {
    let (model, tool) = (FakeModel::start().await, FakeTool::start().await);
    for scheme in ["http", "socks5", "socks5h"] {
        let canary = Canary::start();
        let proxy = format!("{scheme}://127.0.0.1:{}", canary.port());
        let (base, host) = (model.base_url(), tool.host());
        let mut env = vec![
            ("OPENAI_BASE_URL", &*base),
            ("OPENAI_MODEL", "fake"),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &*host),
            ("NO_PROXY", ""),
            ("no_proxy", ""),
        ];
        let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        env.extend(names.map(|name| (name, &*proxy)));
        let sandbox = Sandbox::new();
        let server = sandbox.start_server_with_env(&env).await;
        std::fs::write(sandbox.path().join("guard.toml"), workspace(&tool, &canary)).unwrap();
        let mut apply = sandbox.command(&["apply", "guard.toml"]);
        let applied = apply.envs(env.iter().copied()).output().unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let key = std::fs::read_to_string(sandbox.path().join("data/demo.key")).unwrap().trim().to_owned();
        let before = tool.calls().all().len();

        let good = delivered(&server, &key, &tool.url("/hook")).await;
        let bad = delivered(&server, &key, &format!("http://localhost:{}/", canary.port())).await;
        let begun =
            server.http.post("/api/conversations", &json!({ "assistant_id": ASSISTANT })).send().await;
        let uuid = begun.json()["conversation_id"].as_str().unwrap().to_owned();
        let calls = ["good", "bad"].map(|name| ToolCall::new(name, &json!({})));
        model.script().queue([Reply::tool_calls(calls), Reply::text("Done.")]);
        let path = format!("/api/conversations/{uuid}/messages");
        let response = server.http.post(&path, &json!({ "message": "Both" })).send().await.json();

        assert_eq!((&*good, &*bad), ("delivered", "blocked"), "{scheme}");
        let results: Vec<_> =
            response["function_calls"].as_array().unwrap().iter().map(|call| &call["result"]).collect();
        assert_eq!(results[0], &json!({ "ok": true }), "{scheme}");
        assert!(results[1]["error"].as_str().unwrap().contains("not a public address"), "{response}");
        assert_eq!(tool.calls().all().len() - before, 2);
        assert_eq!(canary.connections(), 0, "{scheme}");
        assert!(server.terminate().await.success());
    }
}
