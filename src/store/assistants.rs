//! Assistants and their immutable versions. A turn runs with one version.

use std::collections::BTreeSet;

use super::resource::{Resource, resource_page};
use super::workspaces::advance_config_version;
use super::{Conn, StoreError, fetch, from_row, key_columns, on_conn, stored_json};
use crate::domain::assistant::{Assistant, AssistantSummary, AssistantVersion, NumberedVersion};
use crate::domain::clock::Micros;
use crate::domain::ids::{AssistantId, WorkspaceId};

fn parse(compiled: &str) -> Result<AssistantVersion, sqlx::Error> {
    stored_json::from_str(compiled).map_err(|error| sqlx::Error::Decode(error.into()))
}

from_row!(Assistant, |row| Self {
    id: row.try_get("id")?,
    current_version: row.try_get("current_version")?,
    version: parse(row.try_get("compiled")?)?,
    from_file: row.try_get("from_file")?,
    archived_at: row.try_get("archived_at")?,
    created_at: row.try_get("created_at")?,
    updated_at: row.try_get("updated_at")?,
});

from_row!(NumberedVersion, |row| Self {
    number: row.try_get("version")?,
    version: parse(row.try_get("compiled")?)?,
    created_at: row.try_get("created_at")?,
});

/// Assistants with their current versions.
macro_rules! assistants_select {
    ($more_columns:literal, $($more_tables:tt)+) => {
        concat!(
            "select a.id, a.current_version, a.from_file, a.archived_at, a.created_at, v.created_at as updated_at, \
             v.compiled",
            $more_columns,
            " from ",
            $($more_tables)+,
            "assistants a join assistant_versions v on v.workspace_id = a.workspace_id and v.assistant_id = a.id \
             and v.version = a.current_version where a.workspace_id = $1"
        )
    };
}

/// Archived assistants are found, because their conversations are read and their versions restored; they are not listed.
impl Resource for Assistant {
    type Id = AssistantId;
    const FIND: &'static str = concat!(assistants_select!("", ""), " and a.id = $2");
    const LIST: &'static str = concat!(
        assistants_select!(
            ", candidates",
            concat!(
                resource_page!(
                    "assistants",
                    "(select octet_length(compiled) from assistant_versions \
                     where assistant_versions.workspace_id = assistants.workspace_id \
                     and assistant_id = assistants.id and version = current_version)"
                ),
                " cross join "
            )
        ),
        " and a.id = page_id order by a.id"
    );

    fn id(&self) -> AssistantId {
        self.id
    }
}

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

/// A version of an assistant.
pub async fn read_version(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: AssistantId,
    version: i64,
) -> Result<Option<NumberedVersion>, StoreError> {
    const FIND: &str = "select version, compiled, created_at from assistant_versions \
        where workspace_id = $1 and assistant_id = $2 and version = $3";
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(workspace).bind(id).bind(version).fetch_optional(c).await?
    }))
}

/// The numbers of the versions before one, each with the time of its creation; the newest comes first.
pub async fn list_versions(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: AssistantId,
    before: i64,
    limit: i64,
) -> Result<Vec<(i64, Micros)>, StoreError> {
    const LIST: &str = "select version, created_at from assistant_versions \
        where workspace_id = $1 and assistant_id = $2 and version < $3 order by version desc limit $4";
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(workspace).bind(id).bind(before).bind(limit).fetch_all(c).await?
    }))
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

macro_rules! select_rows {
    () => {
        "select assistants.id, slug, name, current_version, pause_on_agent_message, from_file, \
         archived_at is not null as archived, compiled from assistants \
         join assistant_versions on assistant_versions.workspace_id = assistants.workspace_id \
         and assistant_id = assistants.id and version = current_version where assistants.workspace_id = $1"
    };
}

/// All assistants of the workspace, archived ones included, by slug.
pub async fn list_all(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<AssistantRow>, StoreError> {
    const LIST: &str = concat!(select_rows!(), " order by slug");
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).fetch_all(c).await?))
}

/// An assistant, archived or not.
pub async fn find_row(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: AssistantId,
) -> Result<Option<AssistantRow>, StoreError> {
    const FIND: &str = concat!(select_rows!(), " and assistants.id = $2");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// The assistant that has a slug, archived or not: its id, and whether it is archived.
pub async fn find_slug(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    slug: &str,
) -> Result<Option<(AssistantId, bool)>, StoreError> {
    const FIND: &str =
        "select id, archived_at is not null from assistants where workspace_id = $1 and slug = $2";
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(slug).fetch_optional(c).await?))
}

/// The number of assistants that were made through the API, archived ones included.
pub async fn count_of_api(conn: Conn<'_>, workspace: WorkspaceId) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from assistants where workspace_id = $1 and not from_file";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).fetch_one(c).await?);
    Ok(count)
}

/// The assistants, without archived ones, whose current version may have a tool of this slug: their texts contain it.
pub async fn list_mentioning(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    slug: &str,
) -> Result<Vec<AssistantId>, StoreError> {
    const LIST: &str = "select assistants.id from assistants \
        join assistant_versions on assistant_versions.workspace_id = assistants.workspace_id \
        and assistant_id = assistants.id and version = current_version \
        where assistants.workspace_id = $1 and archived_at is null and compiled like $2 order by assistants.id";
    // An underscore matches any character, so some that do not have the slug may be listed, too.
    let pattern = format!("%\"slug\":\"{slug}\"%");
    let ids: Vec<(AssistantId,)> =
        on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).bind(pattern).fetch_all(c).await?);
    Ok(ids.into_iter().map(|(id,)| id).collect())
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
