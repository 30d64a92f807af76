//! Assistants and their immutable versions. A turn runs with one version.

use std::collections::BTreeSet;

use super::workspaces::advance_config_version;
use super::{Conn, StoreError, fetch, key_columns, on_conn};
use crate::domain::assistant::AssistantSummary;
use crate::domain::clock::Micros;
use crate::domain::ids::{AssistantId, WorkspaceId};

/// The workspace and current version of an assistant. Archived assistants are found too, because they still
/// answer in their existing conversations.
pub async fn find_current(conn: Conn<'_>, id: AssistantId) -> Result<Option<(WorkspaceId, i64)>, StoreError> {
    const FIND: &str = "select workspace_id, current_version from assistants where id = $1";
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await?))
}

/// The compiled JSON text of a version.
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

/// The columns of assistants that admission needs.
pub async fn summaries(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, AssistantId)>,
) -> Result<Vec<(AssistantId, AssistantSummary)>, StoreError> {
    const LIST: &str = "select id, workspace_id, current_version, archived_at is not null, pause_on_agent_message \
        from new cross join assistants where workspace_id = key_workspace and id = key_id";
    let rows: Vec<(AssistantId, WorkspaceId, i64, bool, bool)> =
        fetch(conn, &key_columns(), ids, LIST).await?;
    let summary = |(id, workspace, current_version, archived, pause_on_agent_message)| {
        (id, AssistantSummary { workspace, current_version, archived, pause_on_agent_message })
    };
    Ok(rows.into_iter().map(summary).collect())
}

/// An assistant with its current version, as `apply` compares and writes it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AssistantRow {
    pub id: AssistantId,
    pub slug: String,
    pub name: String,
    pub current_version: i64,
    pub pause_on_agent_message: bool,
    /// Created by a workspace file.
    pub from_file: bool,
    pub archived: bool,
    /// JSON text.
    pub compiled: String,
}

/// All assistants of the workspace, archived ones included, by slug.
pub async fn list_all(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<AssistantRow>, StoreError> {
    const LIST: &str = "select assistants.id, slug, name, current_version, pause_on_agent_message, from_file, \
        archived_at is not null as archived, compiled from assistants \
        join assistant_versions on assistant_versions.workspace_id = assistants.workspace_id \
        and assistant_id = assistants.id and version = current_version \
        where assistants.workspace_id = $1 order by slug";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).fetch_all(c).await?))
}

/// Returns true if any workspace has an assistant with this id, archived or not.
pub async fn exists(conn: Conn<'_>, id: AssistantId) -> Result<bool, StoreError> {
    const FIND: &str = "select count(*) from assistants where id = $1";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(FIND).bind(id).fetch_one(c).await?);
    Ok(count > 0)
}

/// Inserts or updates an assistant, which is then not archived. [`insert_version`] writes its version.
pub async fn put(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    row: &AssistantRow,
    now: Micros,
) -> Result<(), StoreError> {
    const PUT: &str = "insert into assistants (workspace_id, id, slug, name, current_version, \
        pause_on_agent_message, from_file, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8) \
        on conflict (workspace_id, id) do update set name = excluded.name, \
        current_version = excluded.current_version, \
        pause_on_agent_message = excluded.pause_on_agent_message, archived_at = null";
    advance_config_version(conn.reborrow(), workspace).await?;
    on_conn!(conn, |c| {
        let query = sqlx::query(PUT).bind(workspace).bind(row.id).bind(&row.slug).bind(&row.name);
        let query = query.bind(row.current_version).bind(row.pause_on_agent_message).bind(row.from_file);
        query.bind(now).execute(c).await?;
    });
    Ok(())
}

/// Inserts the current version of an assistant.
pub async fn insert_version(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    row: &AssistantRow,
    now: Micros,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into assistant_versions (workspace_id, assistant_id, version, compiled, \
        created_at) values ($1, $2, $3, $4, $5)";
    on_conn!(conn, |c| {
        let query = sqlx::query(INSERT).bind(workspace).bind(row.id).bind(row.current_version);
        query.bind(&row.compiled).bind(now).execute(c).await?;
    });
    Ok(())
}

/// Archives an assistant.
pub async fn archive(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    id: AssistantId,
    now: Micros,
) -> Result<(), StoreError> {
    const ARCHIVE: &str = "update assistants set archived_at = $1 where workspace_id = $2 and id = $3";
    advance_config_version(conn.reborrow(), workspace).await?;
    on_conn!(conn, |c| {
        sqlx::query(ARCHIVE).bind(now).bind(workspace).bind(id).execute(c).await?;
    });
    Ok(())
}
