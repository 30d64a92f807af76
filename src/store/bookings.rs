//! Calendars and their bookings.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::calendar::{Booking, Interval, MAX_SLOT_LENGTH};
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, TurnId, WorkspaceId};

pub const COLUMNS: &str = "workspace_id, calendar_id, id, call_id, conversation_id, starts_at, ends_at, title, name, \
    email, notes, created_at, cancelled_at, resource, held_by";

/// Of a row that is no dead hold: one whose turn has ended without a word of what came of it.
const NOT_STALE: &str = "(held_by is null or exists (select 1 from turns where turns.workspace_id = \
    bookings.workspace_id and turns.id = bookings.held_by and turns.state in ('waiting', 'queued', 'running')))";

#[derive(sqlx::FromRow)]
pub struct BookingRow {
    workspace_id: WorkspaceId,
    calendar_id: CalendarId,
    id: BookingId,
    call_id: String,
    conversation_id: ConversationId,
    starts_at: Micros,
    ends_at: Micros,
    title: String,
    name: Option<String>,
    email: Option<String>,
    notes: Option<String>,
    created_at: Micros,
    cancelled_at: Option<Micros>,
    resource: Option<String>,
    held_by: Option<TurnId>,
}

impl From<BookingRow> for Booking {
    fn from(row: BookingRow) -> Self {
        Self {
            workspace: row.workspace_id,
            calendar: row.calendar_id,
            id: row.id,
            call: row.call_id,
            conversation: row.conversation_id,
            time: Interval { start: row.starts_at.timestamp(), end: row.ends_at.timestamp() },
            title: row.title,
            name: row.name,
            email: row.email,
            notes: row.notes,
            created_at: row.created_at,
            cancelled_at: row.cancelled_at,
            resource: row.resource,
            held_by: row.held_by,
        }
    }
}

/// When a calendar that is kept here is busy within a range of time.
pub async fn busy(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    range: Interval,
) -> Result<Vec<Interval>, StoreError> {
    let rows: Vec<(Micros, Micros)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select starts_at, ends_at from bookings where workspace_id = ");
        query.push_bind(workspace).push(" and calendar_id = ").push_bind(calendar);
        query.push(" and cancelled_at is null and ").push(NOT_STALE);
        push_range(&mut query, range.start, range.end);
        query.build_query_as().fetch_all(c).await?
    });
    let interval =
        |(start, end): (Micros, Micros)| Interval { start: start.timestamp(), end: end.timestamp() };
    Ok(rows.into_iter().map(interval).collect())
}

/// What bears on a calendar that is on a server, within a range of time, and is not what its server knows best.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// By call: held by turns that are open, or booked before the calendar was on this server.
    pub busy: Vec<(String, Interval)>,
    /// Calls that have held a time and will never book it, or whose booking was cancelled, each with that time:
    /// what of theirs is on the server is to go. Of a cancelled one it is a request that came late.
    pub stale: Vec<(String, Interval)>,
}

/// The holds of a calendar that is on a server, at `url`.
pub async fn list_holds(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    url: &str,
    range: Interval,
) -> Result<Holds, StoreError> {
    let rows: Vec<(String, Micros, Micros, bool, bool)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select call_id, starts_at, ends_at, cancelled_at is null, ");
        query.push(NOT_STALE).push(" from bookings where workspace_id = ").push_bind(workspace);
        query.push(" and calendar_id = ").push_bind(calendar);
        push_range(&mut query, range.start, range.end);
        query.push(" and (held_by is not null or (resource is null) = (cancelled_at is null)");
        query.push(" or substr(resource, 1, length(").push_bind(url).push(")) <> ").push_bind(url).push(")");
        query.build_query_as().fetch_all(c).await?
    });
    let mut holds = Holds::default();
    for (call, start, end, is_live, is_under_way) in rows {
        let time = Interval { start: start.timestamp(), end: end.timestamp() };
        if is_live && is_under_way {
            holds.busy.push((call, time));
        } else {
            holds.stale.push((call, time));
        }
    }
    Ok(holds)
}

/// A booking, live or not, or a hold.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    id: BookingId,
) -> Result<Option<Booking>, StoreError> {
    let lookup = BookingLookup { workspace, calendar, range: None, call: None, id: Some(id) };
    Ok(list_matching(conn, &lookup).await?.pop())
}

/// Rows that touch a range. That nothing is longer than the longest slot bounds it for the index, too.
fn push_range<D: sqlx::Database>(query: &mut QueryBuilder<D>, start: Timestamp, end: Timestamp)
where
    Micros: for<'q> sqlx::Encode<'q, D> + sqlx::Type<D>,
{
    let start = Micros::from(start);
    query.push(" and starts_at < ").push_bind(Micros::from(end));
    query.push(" and starts_at > ").push_bind(start.minus(MAX_SLOT_LENGTH));
    query.push(" and ends_at > ").push_bind(start);
}

/// Locks the named calendars, in order of their ids.
pub async fn lock_calendars(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, CalendarId)>,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let lock = conn.row_lock();
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select id from calendars where (workspace_id, id) in (");
        query.push_values(ids, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(") order by id").push(lock);
        query.build().fetch_all(c).await?;
    });
    Ok(())
}

/// What a booking or a cancellation must see of its calendar.
#[derive(Clone, Debug)]
pub struct BookingLookup {
    pub workspace: WorkspaceId,
    pub calendar: CalendarId,
    /// Live bookings and holds that touch this range.
    pub range: Option<(Timestamp, Timestamp)>,
    /// The booking that a call made, live or not.
    pub call: Option<String>,
    /// A booking by its id, live or not.
    pub id: Option<BookingId>,
}

pub async fn list_matching(conn: Conn<'_>, lookup: &BookingLookup) -> Result<Vec<Booking>, StoreError> {
    let rows: Vec<BookingRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from bookings where workspace_id = ").push_bind(lookup.workspace);
        query.push(" and calendar_id = ").push_bind(lookup.calendar).push(" and (call_id = ");
        query.push_bind(&lookup.call).push(" or id = ").push_bind(lookup.id);
        if let Some((start, end)) = lookup.range {
            query.push(" or (cancelled_at is null and ").push(NOT_STALE);
            push_range(&mut query, start, end);
            query.push(")");
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Booking::from).collect())
}

pub async fn insert(conn: Conn<'_>, rows: &[Booking]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into bookings (");
        query.push(COLUMNS).push(") ");
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.workspace).push_bind(row.calendar).push_bind(row.id);
            values.push_bind(&row.call).push_bind(row.conversation);
            values.push_bind(Micros::from(row.time.start)).push_bind(Micros::from(row.time.end));
            values.push_bind(&row.title).push_bind(&row.name).push_bind(&row.email);
            values.push_bind(&row.notes).push_bind(row.created_at).push_bind(row.cancelled_at);
            values.push_bind(&row.resource).push_bind(row.held_by);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}

pub async fn mark_cancelled(mut conn: Conn<'_>, rows: &[Booking]) -> Result<(), StoreError> {
    const CANCEL: &str = "update bookings set cancelled_at = $1 \
        where workspace_id = $2 and calendar_id = $3 and id = $4 and cancelled_at is null";
    for row in rows {
        on_conn!(conn.reborrow(), |c| {
            let query = sqlx::query(CANCEL).bind(row.cancelled_at).bind(row.workspace);
            query.bind(row.calendar).bind(row.id).execute(c).await?;
        });
    }
    Ok(())
}

pub async fn mark_confirmed(mut conn: Conn<'_>, rows: &[Booking]) -> Result<(), StoreError> {
    const CONFIRM: &str = "update bookings set held_by = null \
        where workspace_id = $1 and calendar_id = $2 and id = $3 and cancelled_at is null";
    for row in rows {
        on_conn!(conn.reborrow(), |c| {
            let query = sqlx::query(CONFIRM).bind(row.workspace);
            query.bind(row.calendar).bind(row.id).execute(c).await?;
        });
    }
    Ok(())
}
