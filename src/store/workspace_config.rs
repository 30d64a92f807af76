//! Calendars and tools as a workspace's configuration keeps them: found by their slug,
//! kept as JSON, archived and never deleted.

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::WorkspaceId;

/// A kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Calendars,
    Tools,
}

impl Section {
    fn table(self) -> &'static str {
        match self {
            Self::Calendars => "calendars",
            Self::Tools => "tools",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Calendars => "rules",
            Self::Tools => "definition",
        }
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ConfigRow {
    pub id: Uuid,
    pub slug: String,
    /// JSON: a calendar's rules, or a tool.
    pub text: String,
    /// A workspace file made it.
    pub from_file: bool,
    pub archived: bool,
}

/// All rows of the workspace, archived ones too, by slug.
pub async fn list(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
) -> Result<Vec<ConfigRow>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = select(section, workspace);
        query.push(" order by slug");
        query.build_query_as().fetch_all(c).await?
    }))
}

/// A row that is in use.
pub async fn find(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    id: Uuid,
) -> Result<Option<ConfigRow>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = select(section, workspace);
        query.push(" and archived_at is null and id = ").push_bind(id);
        query.build_query_as().fetch_optional(c).await?
    }))
}

/// At most `limit` rows that are in use, after one, in order of age.
pub async fn page(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ConfigRow>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query = select(section, workspace);
        query.push(" and archived_at is null");
        if let Some(after) = after {
            query.push(" and id > ").push_bind(after);
        }
        query.push(" order by id limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    }))
}

/// The beginning of a query for rows of the workspace.
fn select<'q, D: sqlx::Database>(section: Section, workspace: WorkspaceId) -> QueryBuilder<D>
where
    WorkspaceId: sqlx::Encode<'q, D> + sqlx::Type<D> + 'q,
{
    let mut query = QueryBuilder::new("select id, slug, ");
    query.push(section.column()).push(" as text, from_file, archived_at is not null as archived from ");
    query.push(section.table()).push(" where workspace_id = ").push_bind(workspace);
    query
}

/// Makes a row, or gives the one of this id its new text; it is then not archived.
pub async fn put(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    row: &ConfigRow,
    now: Micros,
) -> Result<(), StoreError> {
    let column = section.column();
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into ");
        query.push(section.table()).push(" (workspace_id, id, slug, ").push(column);
        query.push(", from_file, created_at) values (");
        let mut values = query.separated(", ");
        values.push_bind(workspace).push_bind(row.id).push_bind(&row.slug).push_bind(&row.text);
        values.push_bind(row.from_file).push_bind(now);
        query.push(") on conflict (workspace_id, id) do update set archived_at = null, ").push(column);
        query.push(" = excluded.").push(column);
        query.build().execute(c).await?;
    });
    Ok(())
}

/// Takes a row out of use.
pub async fn archive(
    conn: Conn<'_>,
    section: Section,
    workspace: WorkspaceId,
    id: Uuid,
    now: Micros,
) -> Result<(), StoreError> {
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("update ");
        query.push(section.table()).push(" set archived_at = ").push_bind(now);
        query.push(" where workspace_id = ").push_bind(workspace).push(" and id = ").push_bind(id);
        query.build().execute(c).await?;
    });
    Ok(())
}
