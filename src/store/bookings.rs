//! Bookings, and the holds on times that open turns and requests are about to book.

use jiff::Timestamp;
use sqlx::QueryBuilder;

use super::{Conn, StoreError, calendars, from_row, insert_row, insert_rows, on_conn};
use crate::domain::calendar::{
    Booking, BookingCounts, BookingLookup, BookingState, HOLD_OF_REQUEST, Interval, MAX_SLOT_LENGTH,
};
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, WorkspaceId};

/// True for all rows but stale holds: holds of a turn that ended, or of a request that took too long, without confirming or cancelling
/// them. The parameter is the time after which a hold of a request still counts ([`oldest_hold`]).
macro_rules! not_stale {
    ($oldest_hold:literal) => {
        concat!(not_stale!(@before), $oldest_hold, not_stale!(@after))
    };
    (@before) => {
        "(held_by is null or held_by = id and created_at > "
    };
    (@after) => {
        " or exists (select 1 from turns where turns.workspace_id = bookings.workspace_id \
         and turns.id = bookings.held_by and turns.state in ('waiting', 'queued', 'running')))"
    };
}

fn oldest_hold(now: Micros) -> Micros {
    now.minus(HOLD_OF_REQUEST)
}

insert_row!(Booking, "bookings", booking_columns, |booking| {
    "workspace_id": booking.workspace,
    "calendar_id": booking.calendar,
    "id": booking.id,
    "call_id": &booking.call,
    "conversation_id": booking.conversation,
    "starts_at": Micros::from(booking.time.start),
    "ends_at": Micros::from(booking.time.end),
    "title": &booking.title,
    "name": &booking.name,
    "email": &booking.email,
    "notes": &booking.notes,
    "created_at": booking.created_at,
    "cancelled_at": booking.cancelled_at,
    "resource": &booking.resource,
    "held_by": booking.held_by,
});

pub(super) use booking_columns;

from_row!(Booking, |row| Self {
    workspace: row.try_get("workspace_id")?,
    calendar: row.try_get("calendar_id")?,
    id: row.try_get("id")?,
    call: row.try_get("call_id")?,
    conversation: row.try_get("conversation_id")?,
    time: interval(row.try_get("starts_at")?, row.try_get("ends_at")?),
    title: row.try_get("title")?,
    name: row.try_get("name")?,
    email: row.try_get("email")?,
    notes: row.try_get("notes")?,
    created_at: row.try_get("created_at")?,
    cancelled_at: row.try_get("cancelled_at")?,
    resource: row.try_get("resource")?,
    held_by: row.try_get("held_by")?,
});

fn interval(start: Micros, end: Micros) -> Interval {
    Interval { start: start.timestamp(), end: end.timestamp() }
}

/// The busy times within a range, of a calendar that is not on a server.
pub async fn busy(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    range: Interval,
    now: Micros,
) -> Result<Vec<Interval>, StoreError> {
    const BUSY: &str = concat!(
        "select starts_at, ends_at from bookings where workspace_id = $1 and calendar_id = $2 \
         and starts_at < $3 and starts_at > $4 and ends_at > $5 and cancelled_at is null and ",
        not_stale!("$6")
    );
    let rows: Vec<(Micros, Micros)> = on_conn!(conn, |c| {
        let query = sqlx::query_as(BUSY).bind(workspace).bind(calendar).bind(Micros::from(range.end));
        let query = query.bind(earliest_start(range.start)).bind(Micros::from(range.start));
        query.bind(oldest_hold(now)).fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|(start, end)| interval(start, end)).collect())
}

/// A lower bound for the start of bookings that end after `start`. No booking is longer than the longest slot;
/// this bound lets the index on `starts_at` skip earlier rows.
fn earliest_start(start: Timestamp) -> Micros {
    Micros::from(start).minus(MAX_SLOT_LENGTH)
}

/// The times that the database knows about a calendar on a server, within a range, beyond what the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// By call: times held by open turns, or booked before the calendar was on this server.
    pub busy: Vec<(String, Interval)>,
    /// Calls that held a time and will never book it, or whose booking was cancelled, each with that time. If the
    /// server has a resource of theirs, it has to be removed. For a cancelled booking it stems from a late request.
    pub stale: Vec<(String, Interval)>,
}

/// The holds of a calendar on a server whose address is `url`.
pub async fn list_holds(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    url: &str,
    range: Interval,
    now: Micros,
) -> Result<Holds, StoreError> {
    const LIST: &str = concat!(
        "select call_id, starts_at, ends_at, cancelled_at is null, ",
        not_stale!("$7"),
        " from bookings where workspace_id = $1 and calendar_id = $2 \
         and starts_at < $3 and starts_at > $4 and ends_at > $5 \
         and (held_by is not null or (resource is null) = (cancelled_at is null) \
         or substr(resource, 1, length($6)) <> $6)"
    );
    let rows: Vec<(String, Micros, Micros, bool, bool)> = on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(calendar).bind(Micros::from(range.end));
        let query = query.bind(earliest_start(range.start)).bind(Micros::from(range.start));
        query.bind(url).bind(oldest_hold(now)).fetch_all(c).await?
    });
    let mut holds = Holds::default();
    for (call, start, end, is_live, is_not_stale) in rows {
        let list = if is_live && is_not_stale { &mut holds.busy } else { &mut holds.stale };
        list.push((call, interval(start, end)));
    }
    Ok(holds)
}

/// The bookings of a calendar that a list shows: those that match every field that is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Bookings that end after this moment.
    pub from: Option<Micros>,
    /// Bookings that begin before this moment.
    pub to: Option<Micros>,
    pub state: Option<BookingState>,
    pub conversation: Option<ConversationId>,
    /// Start and id of the last booking of the previous page.
    pub after: Option<(Micros, BookingId)>,
    /// The limit keeps the last bookings instead of the first.
    pub last: bool,
}

/// At most `limit` bookings of a calendar, without holds, in order of their start.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Booking>, StoreError> {
    let mut bookings: Vec<Booking> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(concat!(
            "select ",
            booking_columns!(),
            " from bookings where held_by is null and workspace_id = "
        ));
        query.push_bind(workspace).push(" and calendar_id = ").push_bind(calendar);
        if let Some(from) = filter.from {
            query.push(" and ends_at > ").push_bind(from);
            query.push(" and starts_at > ").push_bind(from.minus(MAX_SLOT_LENGTH));
        }
        if let Some(to) = filter.to {
            query.push(" and starts_at < ").push_bind(to);
        }
        match filter.state {
            Some(BookingState::Booked) => query.push(" and cancelled_at is null"),
            Some(BookingState::Cancelled) => query.push(" and cancelled_at is not null"),
            None => &mut query,
        };
        if let Some(conversation) = filter.conversation {
            query.push(" and conversation_id = ").push_bind(conversation);
        }
        if let Some((start, id)) = filter.after {
            query.push(" and (starts_at, id) > (").push_bind(start).push(", ").push_bind(id).push(")");
        }
        query.push(if filter.last { " order by starts_at desc, id desc" } else { " order by starts_at, id" });
        query.push(" limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    if filter.last {
        bookings.reverse();
    }
    Ok(bookings)
}

/// A booking or hold, live or cancelled.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    id: BookingId,
) -> Result<Option<Booking>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        booking_columns!(),
        " from bookings where workspace_id = $1 and calendar_id = $2 and id = $3"
    );
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(workspace).bind(calendar).bind(id).fetch_optional(c).await?
    }))
}

/// A booking, live or cancelled. A hold is not found.
pub async fn find_confirmed(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    id: BookingId,
) -> Result<Option<Booking>, StoreError> {
    Ok(find(conn, workspace, calendar, id).await?.filter(|booking| booking.held_by.is_none()))
}

/// Cancels a booking unless it already is, and returns it, and whether this call has cancelled it.
pub async fn cancel(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    id: BookingId,
    now: Micros,
) -> Result<Option<(Booking, bool)>, StoreError> {
    calendars::lock(conn.reborrow(), &[(workspace, calendar)].into()).await?;
    let found = find_confirmed(conn.reborrow(), workspace, calendar, id).await?;
    let Some(mut booking) = found else { return Ok(None) };
    let is_changed = booking.cancelled_at.is_none();
    if is_changed {
        booking.cancelled_at = Some(now);
        mark_cancelled(conn, std::slice::from_ref(&booking)).await?;
    }
    Ok(Some((booking, is_changed)))
}

pub async fn list_matching(conn: Conn<'_>, lookup: &BookingLookup) -> Result<Vec<Booking>, StoreError> {
    Ok(on_conn!(conn, |c| {
        let mut query =
            QueryBuilder::new(concat!("select ", booking_columns!(), " from bookings where workspace_id = "));
        query.push_bind(lookup.workspace).push(" and calendar_id = ").push_bind(lookup.calendar);
        query.push(" and (call_id = ").push_bind(&lookup.call).push(" or id = ").push_bind(lookup.id);
        if let Some(Interval { start, end }) = lookup.range {
            query.push(concat!(" or (cancelled_at is null and ", not_stale!(@before)));
            query.push_bind(oldest_hold(lookup.now));
            query
                .push(concat!(not_stale!(@after), " and starts_at < "))
                .push_bind(Micros::from(end))
                .push(" and starts_at > ")
                .push_bind(earliest_start(start));
            query.push(" and ends_at > ").push_bind(Micros::from(start)).push(")");
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    }))
}

/// The bookings that a conversation has made in a calendar (none: 0), and all since a time. A cancelled booking counts:
/// otherwise one visitor could book and cancel without an end. A hold that was released does not: its server failed.
pub async fn count_made(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    conversation: Option<ConversationId>,
    since: Micros,
) -> Result<BookingCounts, StoreError> {
    macro_rules! count {
        ($which:literal) => {
            concat!(
                "(select count(*) from bookings where workspace_id = $1 and calendar_id = $2 and ",
                $which,
                " and (held_by is null or cancelled_at is null))"
            )
        };
    }
    const COUNT: &str = concat!("select ", count!("conversation_id = $3"), ", ", count!("created_at >= $4"));
    let (conversation, day): (i64, i64) = on_conn!(conn, |c| {
        let query = sqlx::query_as(COUNT).bind(workspace).bind(calendar);
        query.bind(conversation).bind(since).fetch_one(c).await?
    });
    Ok(BookingCounts { conversation, day })
}

pub async fn insert(conn: Conn<'_>, rows: &[Booking]) -> Result<(), StoreError> {
    insert_rows(conn, rows, "").await?;
    Ok(())
}

/// Writes `cancelled_at` of bookings that are not cancelled yet.
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

/// Turns holds into bookings.
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
