//! Tools, as the platform API shows them. They are set up by the workspace file; a test
//! call is in [`test_call`], a new list of an MCP server's in [`refresh`].

pub mod refresh;
pub mod test_call;

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::error::{Error, ResourceKind};
use crate::domain::ids::ToolId;
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
    let not_found = || Error::not_found(ResourceKind::Tool, name);
    let id: ToolId = name.parse().map_err(|_| not_found())?;
    let read =
        async |conn: Conn<'_>| workspace_config::find(conn, Section::Tools, account.workspace, id.0).await;
    let row = services.db.read(read).await?;
    row.map_or_else(|| Err(not_found()), tool_from_row)
}

/// At most `limit` tools after one, the oldest first.
pub async fn list(
    services: &Services,
    account: &Account,
    after: Option<ToolId>,
    limit: usize,
) -> Result<Page<NamedTool, ToolId>, Error> {
    let (fetch_limit, after) = (page::fetch_limit(limit), after.map(|id| id.0));
    let read = async |conn: Conn<'_>| {
        workspace_config::page(conn, Section::Tools, account.workspace, after, fetch_limit).await
    };
    let rows = services.db.read(read).await?;
    let found = rows.into_iter().map(tool_from_row).collect::<Result<_, _>>()?;
    Ok(Page::from_rows(found, limit, |tool: &NamedTool| tool.id))
}

fn tool_from_row(row: ConfigRow) -> Result<NamedTool, Error> {
    let tool = serde_json::from_str(&row.text).map_err(StoreError::unreadable)?;
    Ok(NamedTool { id: ToolId(row.id), slug: row.slug, tool })
}
