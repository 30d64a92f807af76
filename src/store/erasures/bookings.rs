//! The bookings of deleted conversations, and those whose retention has passed.

use crate::domain::calendar::Booking;
use crate::domain::clock::Micros;
use crate::domain::erasure::{
    ERASED_TITLE, ErasureCounts, ErasureJob, FailingCalendars, MAX_REMAINING, RemainingAppointment,
};
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::store::bookings::booking_columns;
use crate::store::{Conn, StoreError, on_conn};

use super::add_counts;

/// At most `limit` bookings and holds of a conversation that still have content, or a copy on a server.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    limit: i64,
) -> Result<Vec<Booking>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        booking_columns!(),
        " from bookings where workspace_id = $1 and conversation_id = $2 and erased_at is null order by id limit $3"
    );
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(workspace).bind(conversation).bind(limit).fetch_all(c).await?
    }))
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
        cancelled_at = coalesce(cancelled_at, $6) \
        where workspace_id = $1 and calendar_id = $2 and id = $3 and erased_at is null";
    let erased = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(ERASE).bind(booking.workspace).bind(booking.calendar).bind(booking.id);
        query.bind(ERASED_TITLE).bind(now).bind(cancelled_at).execute(c).await?.rows_affected()
    });
    if erased == 0 {
        return Ok(());
    }
    add_counts(conn.reborrow(), job.workspace, job.id, ErasureCounts { bookings: 1, ..Default::default() })
        .await?;
    match remaining {
        Some(remaining) => add_remaining(conn, job, remaining).await,
        None => Ok(()),
    }
}

/// Names an appointment that is still on its server, unless too many are named already. Only the process with the claim does so.
async fn add_remaining(
    mut conn: Conn<'_>,
    job: &ErasureJob,
    remaining: &RemainingAppointment,
) -> Result<(), StoreError> {
    const READ: &str = "select remaining from erasures where workspace_id = $1 and id = $2";
    const WRITE: &str = "update erasures set remaining = $3, remaining_count = remaining_count + 1 \
        where workspace_id = $1 and id = $2";
    let (text,): (String,) = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(READ).bind(job.workspace).bind(job.id).fetch_one(c).await?
    });
    let mut list: Vec<RemainingAppointment> = serde_json::from_str(&text).map_err(StoreError::unreadable)?;
    if list.len() < MAX_REMAINING {
        list.push(remaining.clone());
    }
    let text = serde_json::to_string(&list).map_err(StoreError::unreadable)?;
    on_conn!(conn, |c| {
        sqlx::query(WRITE).bind(job.workspace).bind(job.id).bind(text).execute(c).await?;
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
