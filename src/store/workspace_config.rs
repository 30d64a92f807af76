//! The `calendars` and `tools` tables as a workspace's configuration sees them: rows with a slug and a JSON text,
//! which are archived and never deleted.

use uuid::Uuid;

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::WorkspaceId;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Calendars,
    Tools,
}

struct Statements {
    list: &'static str,
    find: &'static str,
    find_slug: &'static str,
    put: &'static str,
    archive: &'static str,
}

/// The statements over one of the two tables.
macro_rules! statements {
    ($table:literal, $text:literal) => {
        Statements {
            list: concat!(
                statements!(@select $table, $text),
                " order by slug"
            ),
            find: concat!(
                statements!(@select $table, $text),
                " and archived_at is null and id = $2"
            ),
            find_slug: concat!(
                statements!(@select $table, $text),
                " and slug = $2"
            ),
            put: concat!(
                "insert into ", $table, " (workspace_id, id, slug, ", $text, ", from_file, created_at) \
                 values ($1, $2, $3, $4, $5, $6) on conflict (workspace_id, id) do update \
                 set archived_at = null, ", $text, " = excluded.", $text
            ),
            archive: concat!("update ", $table, " set archived_at = $1 where workspace_id = $2 and id = $3"),
        }
    };
    (@select $table:literal, $text:literal) => {
        concat!(
            "select id, slug, ", $text, " as text, from_file, archived_at is not null as archived from ", $table,
            " where workspace_id = $1"
        )
    };
}

impl Section {
    const fn statements(self) -> &'static Statements {
        match self {
            Self::Calendars => &statements!("calendars", "rules"),
            Self::Tools => &statements!("tools", "definition"),
        }
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ConfigRow {
    pub id: Uuid,
    pub slug: String,
    /// JSON: the settings of a calendar, or a tool.
    pub text: String,
    /// Created by a workspace file.
    pub from_file: bool,
    pub archived: bool,
}

/// All rows of the workspace, archived ones included, by slug.
pub async fn list(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
) -> Result<Vec<ConfigRow>, StoreError> {
    let list = section.statements().list;
    Ok(on_conn!(conn, |c| sqlx::query_as(list).bind(workspace).fetch_all(c).await?))
}

/// A row, unless it is archived.
pub async fn find(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    id: Uuid,
) -> Result<Option<ConfigRow>, StoreError> {
    let find = section.statements().find;
    Ok(on_conn!(conn, |c| sqlx::query_as(find).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// The row that has a slug, archived or not.
pub async fn find_slug(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    slug: &str,
) -> Result<Option<ConfigRow>, StoreError> {
    let find = section.statements().find_slug;
    Ok(on_conn!(conn, |c| sqlx::query_as(find).bind(workspace).bind(slug).fetch_optional(c).await?))
}

/// Inserts a row or updates its text. The row is then not archived.
pub async fn put(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    row: &ConfigRow,
    now: Micros,
) -> Result<(), StoreError> {
    let put = section.statements().put;
    on_conn!(conn, |c| {
        let query = sqlx::query(put).bind(workspace).bind(row.id).bind(&row.slug).bind(&row.text);
        query.bind(row.from_file).bind(now).execute(c).await?;
    });
    Ok(())
}

/// Archives a row.
pub async fn archive(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    id: Uuid,
    now: Micros,
) -> Result<(), StoreError> {
    let archive = section.statements().archive;
    on_conn!(conn, |c| {
        sqlx::query(archive).bind(now).bind(workspace).bind(id).execute(c).await?;
    });
    Ok(())
}
