//! Calendars that are kept here, and their bookings.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::batch::Booking;
use crate::domain::calendar::Interval;
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, WorkspaceId};

pub(super) const COLUMNS: &str = "workspace_id, calendar_id, id, call_id, conversation_id, starts_at, ends_at, title, name, \
    email, notes, created_at, cancelled_at";

#[derive(sqlx::FromRow)]
pub(super) struct BookingRow {
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
        }
    }
}

/// When a calendar is busy within a range of time.
pub async fn busy(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    range: Interval,
) -> Result<Vec<Interval>, StoreError> {
    const BUSY: &str = "select starts_at, ends_at from bookings where workspace_id = $1 and calendar_id = $2 \
        and cancelled_at is null and starts_at < $3 and ends_at > $4";
    let rows: Vec<(Micros, Micros)> = on_conn!(conn, |c| {
        let query = sqlx::query_as(BUSY).bind(workspace).bind(calendar);
        query.bind(Micros::from(range.end)).bind(Micros::from(range.start)).fetch_all(c).await?
    });
    let interval =
        |(start, end): (Micros, Micros)| Interval { start: start.timestamp(), end: end.timestamp() };
    Ok(rows.into_iter().map(interval).collect())
}

/// Locks the named calendars, in order of their ids.
pub async fn lock(conn: Conn<'_>, named: &BTreeSet<(WorkspaceId, CalendarId)>) -> Result<(), StoreError> {
    if named.is_empty() {
        return Ok(());
    }
    let lock = conn.lock();
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select id from calendars where (workspace_id, id) in (");
        query.push_values(named, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(") order by id").push(lock);
        query.build().fetch_all(c).await?;
    });
    Ok(())
}

/// What a booking or a cancellation must see of its calendar.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub workspace: WorkspaceId,
    pub calendar: CalendarId,
    /// Live bookings that touch this range.
    pub range: Option<(Timestamp, Timestamp)>,
    /// The booking that a call made, live or not.
    pub call: Option<String>,
    /// A booking by its id, live or not.
    pub id: Option<BookingId>,
}

pub(super) async fn bookings(conn: Conn<'_>, wanted: &Wanted) -> Result<Vec<Booking>, StoreError> {
    let rows: Vec<BookingRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from bookings where workspace_id = ").push_bind(wanted.workspace);
        query.push(" and calendar_id = ").push_bind(wanted.calendar).push(" and (call_id = ");
        query.push_bind(&wanted.call).push(" or id = ").push_bind(wanted.id);
        if let Some((start, end)) = wanted.range {
            query.push(" or (cancelled_at is null and starts_at < ").push_bind(Micros::from(end));
            query.push(" and ends_at > ").push_bind(Micros::from(start)).push(")");
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Booking::from).collect())
}

pub(super) async fn insert_bookings(conn: Conn<'_>, rows: &[Booking]) -> Result<(), StoreError> {
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
        });
        query.build().execute(c).await?;
    });
    Ok(())
}

pub(super) async fn cancel_bookings(mut conn: Conn<'_>, rows: &[Booking]) -> Result<(), StoreError> {
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
