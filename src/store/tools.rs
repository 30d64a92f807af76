//! The tools of a workspace, as the platform API shows them. [`workspace_config`](super::workspace_config) writes them.

use super::resource::{Resource, resource_page};
use super::{Conn, StoreError, from_row, on_conn, stored_json};
use crate::domain::ids::{ToolId, WorkspaceId};
use crate::domain::tool::NamedTool;

from_row!(NamedTool, |row| {
    let tool = stored_json::from_str(row.try_get("definition")?);
    Self {
        id: row.try_get("id")?,
        slug: row.try_get("slug")?,
        tool: tool.map_err(|error| sqlx::Error::Decode(error.into()))?,
        from_file: row.try_get("from_file")?,
    }
});

impl Resource for NamedTool {
    type Id = ToolId;
    const FIND: &'static str = "select id, slug, definition, from_file from tools where archived_at is null and workspace_id = $1 and id = $2";
    const LIST: &'static str = concat!(
        "select id, slug, definition, from_file, candidates from ",
        resource_page!("tools", "octet_length(definition)"),
        " cross join tools where workspace_id = $1 and id = page_id order by id"
    );

    fn id(&self) -> ToolId {
        self.id
    }
}

/// The number of tools that were made through the API, archived ones included.
pub async fn count_of_api(conn: Conn<'_>, workspace: WorkspaceId) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from tools where workspace_id = $1 and not from_file";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).fetch_one(c).await?);
    Ok(count)
}
