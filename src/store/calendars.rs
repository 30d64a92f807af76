//! Calendars as the API shows them, and the directory of the addresses at which programs read them.

use sqlx::QueryBuilder;

use super::{Conn, StoreError, bookings, on_conn};
use crate::domain::calendar::{Calendar, CalendarSettings};
use crate::domain::clock::Micros;
use crate::domain::ids::{CalendarId, CalendarToken, WorkspaceId};

const SELECT: &str = "select c.workspace_id, c.id, c.slug, c.rules, l.id as link, c.created_at from calendars c \
    left join calendar_links l on l.workspace_id = c.workspace_id and l.calendar_id = c.id \
    where c.archived_at is null";

#[derive(sqlx::FromRow)]
struct CalendarRow {
    workspace_id: WorkspaceId,
    id: CalendarId,
    slug: String,
    rules: String,
    link: Option<CalendarToken>,
    created_at: Micros,
}

impl TryFrom<CalendarRow> for Calendar {
    type Error = StoreError;

    fn try_from(row: CalendarRow) -> Result<Self, StoreError> {
        let CalendarSettings { rules, caldav } =
            serde_json::from_str(&row.rules).map_err(StoreError::unreadable)?;
        Ok(Self {
            workspace: row.workspace_id,
            id: row.id,
            slug: row.slug,
            rules,
            caldav,
            link: row.link,
            created_at: row.created_at,
        })
    }
}

/// A calendar of the workspace that is in use.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: CalendarId,
) -> Result<Option<Calendar>, StoreError> {
    let found: Option<CalendarRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" and c.workspace_id = ").push_bind(workspace).push(" and c.id = ").push_bind(id);
        query.build_query_as().fetch_optional(c).await?
    });
    found.map(Calendar::try_from).transpose()
}

/// At most `limit` calendars that are in use, after one, in order of age.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: Option<CalendarId>,
    limit: i64,
) -> Result<Vec<Calendar>, StoreError> {
    let rows: Vec<CalendarRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" and c.workspace_id = ").push_bind(workspace);
        if let Some(after) = after {
            query.push(" and c.id > ").push_bind(after);
        }
        query.push(" order by c.id limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Calendar::try_from).collect()
}

/// The calendar that an address leads to, in whatever workspace.
pub async fn find_by_link(mut conn: Conn<'_>, token: CalendarToken) -> Result<Option<Calendar>, StoreError> {
    const FIND: &str = "select workspace_id, calendar_id from calendar_links where id = $1";
    let target: Option<(WorkspaceId, CalendarId)> =
        on_conn!(conn.reborrow(), |c| sqlx::query_as(FIND).bind(token).fetch_optional(c).await?);
    match target {
        Some((workspace, id)) => find(conn, workspace, id).await,
        None => Ok(None),
    }
}

/// Gives a calendar this address, or none; the one that it had is then unknown.
pub async fn set_link(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    id: CalendarId,
    token: Option<CalendarToken>,
    now: Micros,
) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from calendar_links where workspace_id = $1 and calendar_id = $2";
    const PUT: &str =
        "insert into calendar_links (id, workspace_id, calendar_id, created_at) values ($1, $2, $3, $4)";
    // Of two at once, one replaces the other's.
    bookings::lock_calendars(conn.reborrow(), &[(workspace, id)].into()).await?;
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(REMOVE).bind(workspace).bind(id).execute(c).await?;
    });
    if let Some(token) = token {
        on_conn!(conn, |c| {
            sqlx::query(PUT).bind(token).bind(workspace).bind(id).bind(now).execute(c).await?;
        });
    }
    Ok(())
}
