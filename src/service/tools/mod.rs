//! Tools, as the platform API shows them. They are set up by the workspace file; a test
//! call is in [`test_call`], a new list of an MCP server's in [`refresh`].

pub mod refresh;
pub mod test_call;

use super::Services;
use super::page::Page;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{ResourceId as _, ToolId};
use crate::domain::tool::Tool;
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError};

/// A tool by its names.
#[derive(Clone, Debug)]
pub struct NamedTool {
    pub id: ToolId,
    pub slug: String,
    pub tool: Tool,
}

/// The tool of the account's workspace that has this id, as it was sent.
pub async fn find(services: &Services, account: &Account, name: &str) -> Result<NamedTool, Error> {
    let id = ToolId::parse(name)?;
    let read =
        async |conn: Conn<'_>| workspace_config::find(conn, Section::Tools, account.workspace, id.0).await;
    let row = services.db.read(read).await?;
    row.map(tool_from_row).transpose()?.ok_or_else(|| ToolId::not_found(name))
}

/// At most `limit` tools after one, the oldest first.
pub async fn list(
    services: &Services,
    account: &Account,
    after: Option<ToolId>,
    limit: usize,
) -> Result<Page<NamedTool, ToolId>, Error> {
    let after = after.map(|id| id.0);
    let read = async |conn: Conn<'_>, rows| {
        let rows = workspace_config::page(conn, Section::Tools, account.workspace, after, rows).await?;
        rows.into_iter().map(tool_from_row).collect()
    };
    Page::read(&services.db, limit, read, |tool| tool.id).await
}

fn tool_from_row(row: ConfigRow) -> Result<NamedTool, StoreError> {
    let tool = serde_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    Ok(NamedTool { id: ToolId(row.id), slug: row.slug, tool })
}
