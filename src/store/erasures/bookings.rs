//! The bookings of deleted conversations, single ones, and those whose retention has passed.

use uuid::Uuid;

use crate::domain::calendar::Booking;
use crate::domain::clock::Micros;
use crate::domain::erasure::{
    ERASED_TITLE, ErasureCounts, ErasureJob, ErasureTarget, FailingCalendars, MAX_REMAINING,
    RemainingAppointment,
};
use crate::domain::ids::{BookingId, CalendarId, ConversationId, WorkspaceId};
use crate::store::bookings::booking_columns;
use crate::store::{Conn, StoreError, on_conn};

use super::add_counts;

/// Which bookings are erased.
#[derive(Clone, Copy, Debug)]
pub enum ErasedBookings {
    /// All bookings and holds of a conversation.
    OfConversation(ConversationId),
    One(CalendarId, BookingId),
}

/// At most `limit` of these bookings after one that are not erased.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    which: ErasedBookings,
    after: BookingId,
    limit: i64,
) -> Result<Vec<Booking>, StoreError> {
    const OF_CONVERSATION: &str = concat!(
        "select ",
        booking_columns!(),
        " from bookings where workspace_id = $1 and conversation_id = $2 and id > $3 and erased_at is null \
         order by id limit $4"
    );
    const ONE: &str = concat!(
        "select ",
        booking_columns!(),
        " from bookings where workspace_id = $1 and calendar_id = $2 and id = $3 and id > $4 and erased_at is null"
    );
    Ok(on_conn!(conn, |c| match which {
        ErasedBookings::OfConversation(conversation) => {
            let query = sqlx::query_as(OF_CONVERSATION).bind(workspace).bind(conversation);
            query.bind(after).bind(limit).fetch_all(c).await?
        }
        ErasedBookings::One(calendar, id) => {
            sqlx::query_as(ONE).bind(workspace).bind(calendar).bind(id).bind(after).fetch_all(c).await?
        }
    }))
}

/// Whether some of these bookings are not erased.
pub async fn exist(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    which: ErasedBookings,
) -> Result<bool, StoreError> {
    Ok(!list(conn, workspace, which, BookingId(Uuid::nil()), 1).await?.is_empty())
}

/// Removes the content of bookings that are not erased, and leaves what is needed to remove their copies from servers.
pub async fn clear(conn: Conn<'_>, workspace: WorkspaceId, which: ErasedBookings) -> Result<(), StoreError> {
    macro_rules! clear {
        ($condition:literal) => {
            concat!(
                "update bookings set title = $2, name = null, email = null, notes = null where workspace_id = $1 and ",
                $condition,
                " and erased_at is null and (title <> $2 or coalesce(name, email, notes) is not null)"
            )
        };
    }
    const OF_CONVERSATION: &str = clear!("conversation_id = $3");
    const ONE: &str = clear!("calendar_id = $3 and id = $4");
    on_conn!(conn, |c| match which {
        ErasedBookings::OfConversation(conversation) => {
            let query = sqlx::query(OF_CONVERSATION).bind(workspace).bind(ERASED_TITLE);
            query.bind(conversation).execute(c).await?;
        }
        ErasedBookings::One(calendar, id) => {
            let query = sqlx::query(ONE).bind(workspace).bind(ERASED_TITLE);
            query.bind(calendar).bind(id).execute(c).await?;
        }
    });
    Ok(())
}

/// Removes the content of a booking, and cancels it from `cancelled_at` on. An appointment that could not be removed from its server
/// is named.
pub async fn erase(
    mut conn: Conn<'_>,
    job: &ErasureJob,
    booking: &Booking,
    cancelled_at: Option<Micros>,
    remaining: Option<&RemainingAppointment>,
    now: Micros,
) -> Result<(), StoreError> {
    const ERASE: &str = "update bookings set title = $4, name = null, email = null, notes = null, erased_at = $5, \
        cancelled_at = coalesce(cancelled_at, $6), unremoved_by = $7 \
        where workspace_id = $1 and calendar_id = $2 and id = $3 and erased_at is null";
    let erased = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(ERASE).bind(booking.workspace).bind(booking.calendar).bind(booking.id);
        let query = query.bind(ERASED_TITLE).bind(now).bind(cancelled_at).bind(remaining.map(|_| job.id));
        query.execute(c).await?.rows_affected()
    });
    if erased == 0 {
        return Ok(());
    }
    add_counts(conn.reborrow(), job.workspace, job.id, ErasureCounts { bookings: 1, ..Default::default() })
        .await?;
    match remaining {
        Some(remaining) => add_remaining(conn, job, std::slice::from_ref(remaining)).await,
        None => Ok(()),
    }
}

/// Names the appointments of this erasure that another one could not remove from their server.
pub(super) async fn adopt_remaining(mut conn: Conn<'_>, job: &ErasureJob) -> Result<(), StoreError> {
    const LIST: &str = "select calendar_id, id, call_id from bookings b \
        where b.workspace_id = $1 and b.unremoved_by is not null and b.unremoved_by <> $2 \
        and (b.calendar_id = $3 and b.id = $4 \
        or exists (select 1 from awaited_conversations a where a.workspace_id = $1 and a.erasure_id = $2 \
        and a.conversation_id = b.conversation_id) \
        or exists (select 1 from conversations c where c.workspace_id = $1 and c.id = b.conversation_id \
        and c.erasure_id = $2)) order by b.calendar_id, b.id";
    let (calendar, booking) = match job.target {
        ErasureTarget::Booking(calendar, id) => (Some(calendar), Some(id)),
        ErasureTarget::Conversation(_) | ErasureTarget::Person { .. } | ErasureTarget::Inactive { .. } => {
            (None, None)
        }
    };
    let rows: Vec<(CalendarId, BookingId, String)> = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query_as(LIST).bind(job.workspace).bind(job.id);
        query.bind(calendar).bind(booking).fetch_all(c).await?
    });
    let rows = rows.into_iter().map(|(calendar_id, booking_id, event)| RemainingAppointment {
        calendar_id,
        booking_id,
        event,
    });
    let remaining: Vec<RemainingAppointment> = rows.collect();
    if remaining.is_empty() { Ok(()) } else { add_remaining(conn, job, &remaining).await }
}

/// Names appointments that are still on their server, unless too many are named already. Only the process with the claim does so.
async fn add_remaining(
    mut conn: Conn<'_>,
    job: &ErasureJob,
    remaining: &[RemainingAppointment],
) -> Result<(), StoreError> {
    const READ: &str = "select remaining from erasures where workspace_id = $1 and id = $2";
    const WRITE: &str = "update erasures set remaining = $3, remaining_count = remaining_count + $4 \
        where workspace_id = $1 and id = $2";
    let (text,): (String,) = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(READ).bind(job.workspace).bind(job.id).fetch_one(c).await?
    });
    let mut list: Vec<RemainingAppointment> = serde_json::from_str(&text).map_err(StoreError::unreadable)?;
    list.extend_from_slice(remaining);
    list.truncate(MAX_REMAINING);
    let count = i64::try_from(remaining.len()).unwrap_or(i64::MAX);
    let text = serde_json::to_string(&list).map_err(StoreError::unreadable)?;
    on_conn!(conn, |c| {
        sqlx::query(WRITE).bind(job.workspace).bind(job.id).bind(text).bind(count).execute(c).await?;
    });
    Ok(())
}

/// Remembers the calendars whose server fails. Only the process with the claim does so.
pub async fn set_failing_calendars(
    conn: Conn<'_>,
    job: &ErasureJob,
    failing: &FailingCalendars,
) -> Result<(), StoreError> {
    const SET: &str = "update erasures set failing_calendars = $3 where workspace_id = $1 and id = $2";
    let failing = serde_json::to_string(failing).map_err(StoreError::unreadable)?;
    on_conn!(conn, |c| {
        sqlx::query(SET).bind(job.workspace).bind(job.id).bind(failing).execute(c).await?;
    });
    Ok(())
}

/// Removes the content of at most `limit` bookings of a workspace whose appointments ended before a time. Copies on a server stay.
/// Returns how many there were.
pub async fn expire(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    before: Micros,
    limit: i64,
) -> Result<u64, StoreError> {
    const EXPIRE: &str = "update bookings set title = '', name = null, email = null, notes = null \
        where (workspace_id, calendar_id, id) in (select workspace_id, calendar_id, id from bookings \
        where workspace_id = $1 and ends_at < $2 and title <> '' order by ends_at limit $3)";
    Ok(on_conn!(conn, |c| {
        sqlx::query(EXPIRE).bind(workspace).bind(before).bind(limit).execute(c).await?.rows_affected()
    }))
}
