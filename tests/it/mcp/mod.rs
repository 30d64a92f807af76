//! Tools of a Model Context Protocol server: a real one, built with another language's official SDK.

mod bounds;
mod configuration;
mod logs;
mod misbehaving_servers;
mod process;
mod turns;

use rejoinder::service::apply_workspace::{ApplyError, ApplyResult};
use serde_json::Value;
use url::Url;

use crate::support::server::{Setup, TestServer};
use crate::support::workspaces;

/// The usual workspace, whose front desk has, beside the webhook of orders, the tools of an MCP server at `url`. `more` stands in
/// the tool.
fn with_mcp(url: &str, more: &str) -> Setup {
    let (url, more) = (url.to_owned(), more.to_owned());
    Setup::default().workspace(move |text| edited(&text, &url, &more))
}

/// The text of that workspace, of the usual one's.
fn edited(text: &str, url: &str, more: &str) -> String {
    let at = Url::parse(url).unwrap();
    let host = format!("{}:{}", at.host_str().unwrap(), at.port().unwrap_or(80));
    let balance = "balance = \"10.00\"";
    let text = text.replace(balance, &format!("{balance}\nallow_hosts = [\"{host}\"]"));
    let own = r#"tools = ["availability", "booking", "cancelling", "orders", "notes"]"#;
    let text = text.replace(own, r#"tools = ["crm", "orders"]"#);
    format!("{text}\n[[tools]]\nslug = \"crm\"\nkind = \"mcp\"\nurl = \"{url}\"\n{more}\n")
}

/// Applies that workspace to a running server's store.
async fn reapply(server: &TestServer, url: &str, more: &str) -> Result<ApplyResult, ApplyError> {
    let text = edited(&workspaces::workspace(&server.tool), url, more);
    let clock = &server.services().clock;
    workspaces::try_apply(server.db(), clock.as_ref(), &server.tool, &text).await
}

/// The tools of the assistant's current version, as a model is offered them.
async fn offered(server: &TestServer) -> Vec<String> {
    let before = server.model.calls().all().len();
    let uuid = server.create_conversation().await;
    assert_eq!(server.post_message(&uuid, "Hi").send().await.status, 200);
    let calls = server.model.calls().all();
    calls[before].request.tools().into_iter().map(str::to_owned).collect()
}

async fn refresh(server: &TestServer) -> Value {
    let tool = crate::v1::tools::tool(server, "crm").await;
    let path = format!("/v1/tools/{}/refresh", tool["id"].as_str().unwrap());
    let answer = server.request("POST", &path).bearer(&server.keys.full).send().await;
    answer.json()
}
