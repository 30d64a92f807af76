//! Tools of a real Model Context Protocol server, built with the official Python SDK.

mod bounds;
mod configuration;
mod logs;
mod misbehaving_servers;
pub mod process;
mod turns;

use rejoinder::service::apply_workspace::{ApplyError, ApplyResult};
use serde_json::Value;
use url::Url;

use crate::support::server::{Setup, TestServer};
use crate::support::workspaces;

/// A server whose assistant also has the tools of an MCP server at `url`. `more` is added to the tool's configuration.
fn with_mcp(url: &str, more: &str) -> Setup {
    let (url, more) = (url.to_owned(), more.to_owned());
    Setup::default().workspace(move |text| with_mcp_tool(&text, &url, &more))
}

/// Adds that tool to the text of the workspace file.
fn with_mcp_tool(text: &str, url: &str, more: &str) -> String {
    let at = Url::parse(url).unwrap();
    let host = format!("{}:{}", at.host_str().unwrap(), at.port().unwrap_or(80));
    let balance = "balance = \"10.00\"";
    let text = text.replace(balance, &format!("{balance}\nallow_hosts = [\"{host}\"]"));
    let own = r#"tools = ["availability", "booking", "cancelling", "orders", "notes"]"#;
    let text = text.replace(own, r#"tools = ["crm", "orders"]"#);
    format!("{text}\n[[tools]]\nslug = \"crm\"\nkind = \"mcp\"\nurl = \"{url}\"\n{more}\n")
}

/// Applies that workspace to the database of a running server.
async fn reapply(server: &TestServer, url: &str, more: &str) -> Result<ApplyResult, ApplyError> {
    let text = with_mcp_tool(&workspaces::workspace(&server.tool), url, more);
    let clock = &server.services().clock;
    workspaces::try_apply(server.db(), clock.as_ref(), &server.tool, &text).await
}

/// The tools of the assistant's current version, as they are offered to the model.
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
