//! Bookings as the API shows them, and cancels them. A hold is none.

use sqlx::QueryBuilder;

use super::bookings::{self, BookingRow, COLUMNS};
use super::{Conn, StoreError, on_conn};
use crate::domain::calendar::{Booking, BookingState, MAX_SLOT_LENGTH};
use crate::domain::clock::Micros;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, WorkspaceId};

/// Which bookings of a calendar a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that end after this moment.
    pub from: Option<Micros>,
    /// Those that begin before this moment.
    pub to: Option<Micros>,
    pub state: Option<BookingState>,
    pub conversation: Option<ConversationId>,
    /// Those after this place: start and id of the last of the page before.
    pub after: Option<(Micros, BookingId)>,
    /// Where there are too many: the last ones are listed, and not the first.
    pub last: bool,
}

/// At most `limit` bookings of a calendar, in order of their start.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Booking>, StoreError> {
    let rows: Vec<BookingRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from bookings where workspace_id = ").push_bind(workspace);
        query.push(" and calendar_id = ").push_bind(calendar).push(" and held_by is null");
        if let Some(from) = filter.from {
            query.push(" and ends_at > ").push_bind(from);
            // The same, as far as the index can tell.
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
    let mut bookings: Vec<Booking> = rows.into_iter().map(Booking::from).collect();
    if filter.last {
        bookings.reverse();
    }
    Ok(bookings)
}

/// A booking of a calendar, whatever has become of it.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    id: BookingId,
) -> Result<Option<Booking>, StoreError> {
    let found: Option<BookingRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from bookings where workspace_id = ").push_bind(workspace);
        query.push(" and calendar_id = ").push_bind(calendar).push(" and id = ").push_bind(id);
        query.push(" and held_by is null");
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Booking::from))
}

/// Cancels a booking, if it stands; as it then is.
pub async fn cancel(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    calendar: CalendarId,
    id: BookingId,
    now: Micros,
) -> Result<Option<Booking>, StoreError> {
    bookings::lock_calendars(conn.reborrow(), &[(workspace, calendar)].into()).await?;
    let Some(mut booking) = find(conn.reborrow(), workspace, calendar, id).await? else { return Ok(None) };
    if booking.cancelled_at.is_none() {
        booking.cancelled_at = Some(now);
        bookings::mark_cancelled(conn, std::slice::from_ref(&booking)).await?;
    }
    Ok(Some(booking))
}
