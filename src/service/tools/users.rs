//! The tools that use a calendar or a knowledge base.

use crate::domain::ids::WorkspaceId;
use crate::domain::tool::Tool;
use crate::service::configuration::quote;
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, StoreError, stored_json};

/// The tools in use that a condition selects. The caller has locked the workspace's state, which guards them.
pub(in crate::service) async fn list_users(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    is_user: impl Fn(&Tool) -> bool,
) -> Result<Vec<ConfigRow>, StoreError> {
    let mut users = Vec::new();
    for row in workspace_config::list(conn, Section::Tools, workspace).await? {
        let tool: Tool = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
        if !row.archived && is_user(&tool) {
            users.push(row);
        }
    }
    Ok(users)
}

/// Their slugs, as an error names them; none if there are none.
pub(in crate::service) async fn name_users(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    is_user: impl Fn(&Tool) -> bool,
) -> Result<Option<String>, StoreError> {
    let users = list_users(conn, workspace, is_user).await?;
    let slugs: Vec<String> = users.into_iter().map(|row| row.slug).collect();
    Ok((!slugs.is_empty()).then(|| quote(&slugs)))
}
