//! Calendars, and the directory of the addresses of their iCalendar feeds.

use std::collections::BTreeSet;

use super::resource::{self, Resource, resource_page};
use super::{Conn, StoreError, fetch, from_row, key_columns, on_conn, stored_json};
use crate::domain::calendar::{Calendar, CalendarSettings};
use crate::domain::clock::Micros;
use crate::domain::ids::{CalendarId, CalendarToken, WorkspaceId};

macro_rules! calendar_columns {
    () => {
        "c.workspace_id, c.id, c.slug, c.rules, l.id as link, c.from_file, c.created_at"
    };
}

macro_rules! with_link {
    () => {
        "calendars c left join calendar_links l on l.workspace_id = c.workspace_id and l.calendar_id = c.id"
    };
}

from_row!(Calendar, |row| {
    let settings = stored_json::from_str(row.try_get("rules")?);
    let CalendarSettings { rules, caldav } = settings.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Self {
        workspace: row.try_get("workspace_id")?,
        id: row.try_get("id")?,
        slug: row.try_get("slug")?,
        rules,
        caldav,
        link: row.try_get("link")?,
        from_file: row.try_get("from_file")?,
        created_at: row.try_get("created_at")?,
    }
});

impl Resource for Calendar {
    type Id = CalendarId;
    const FIND: &'static str = concat!(
        "select ",
        calendar_columns!(),
        " from ",
        with_link!(),
        " where c.archived_at is null and c.workspace_id = $1 and c.id = $2"
    );
    const LIST: &'static str = concat!(
        "select ",
        calendar_columns!(),
        ", candidates from ",
        resource_page!("calendars", "octet_length(rules)"),
        " cross join ",
        with_link!(),
        " where c.workspace_id = $1 and c.id = page_id order by c.id"
    );

    fn id(&self) -> CalendarId {
        self.id
    }
}

/// The calendar that a feed address leads to, of any workspace.
pub async fn find_by_link(mut conn: Conn<'_>, token: CalendarToken) -> Result<Option<Calendar>, StoreError> {
    const FIND: &str = "select workspace_id, calendar_id from calendar_links where id = $1";
    let target: Option<(WorkspaceId, CalendarId)> =
        on_conn!(conn.reborrow(), |c| sqlx::query_as(FIND).bind(token).fetch_optional(c).await?);
    match target {
        Some((workspace, id)) => resource::find(conn, workspace, id).await,
        None => Ok(None),
    }
}

/// Replaces or removes the feed address of a calendar. The previous address stops working. Returns whether there was one.
pub async fn set_link(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    id: CalendarId,
    token: Option<CalendarToken>,
    now: Micros,
) -> Result<bool, StoreError> {
    const REMOVE: &str = "delete from calendar_links where workspace_id = $1 and calendar_id = $2";
    const INSERT: &str =
        "insert into calendar_links (id, workspace_id, calendar_id, created_at) values ($1, $2, $3, $4)";
    // Two concurrent calls replace one another's address instead of failing.
    lock(conn.reborrow(), &[(workspace, id)].into()).await?;
    let removed = on_conn!(conn.reborrow(), |c| {
        sqlx::query(REMOVE).bind(workspace).bind(id).execute(c).await?.rows_affected()
    });
    if let Some(token) = token {
        on_conn!(conn, |c| {
            sqlx::query(INSERT).bind(token).bind(workspace).bind(id).bind(now).execute(c).await?;
        });
    }
    Ok(removed > 0)
}

/// Locks calendars, in the order of their ids.
pub async fn lock(conn: Conn<'_>, ids: &BTreeSet<(WorkspaceId, CalendarId)>) -> Result<(), StoreError> {
    macro_rules! lock {
        ($lock:literal) => {
            concat!(
                "select id from new cross join calendars where workspace_id = key_workspace and id = key_id order by id",
                $lock
            )
        };
    }
    let lock = conn.pick(lock!(" for no key update of calendars"), lock!(""));
    let _locked: Vec<(CalendarId,)> = fetch(conn, &key_columns(), ids, lock).await?;
    Ok(())
}
