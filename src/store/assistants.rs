//! Assistants, and the immutable versions that turns run with.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::batch::AssistantHead;
use crate::domain::ids::{AssistantId, WorkspaceId};

/// The workspace that an assistant is of, and its current version, unless it is archived.
pub async fn find_current(conn: Conn<'_>, id: AssistantId) -> Result<Option<(WorkspaceId, i64)>, StoreError> {
    const FIND: &str =
        "select workspace_id, current_version from assistants where id = $1 and archived_at is null";
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await?))
}

/// A version as it was compiled: JSON text.
pub async fn find_version(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: AssistantId,
    version: i64,
) -> Result<Option<String>, StoreError> {
    const FIND: &str = "select compiled from assistant_versions \
        where workspace_id = $1 and assistant_id = $2 and version = $3";
    let found: Option<(String,)> = on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(workspace).bind(id).bind(version).fetch_optional(c).await?
    });
    Ok(found.map(|(compiled,)| compiled))
}

/// What admission needs to know of the named assistants.
pub(super) async fn heads(
    conn: Conn<'_>,
    named: &BTreeSet<(WorkspaceId, AssistantId)>,
) -> Result<Vec<(AssistantId, AssistantHead)>, StoreError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(AssistantId, WorkspaceId, i64, bool, bool)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select id, workspace_id, current_version, archived_at is not null, pause_on_agent_message \
             from assistants where (workspace_id, id) in (",
        );
        query.push_values(named, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    let head = |(id, workspace, current_version, archived, pause_on_agent_message)| {
        (id, AssistantHead { workspace, current_version, archived, pause_on_agent_message })
    };
    Ok(rows.into_iter().map(head).collect())
}
