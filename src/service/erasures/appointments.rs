//! The bookings of an erasure: their content is removed, and then their appointments from CalDAV servers, a few at once. A server that
//! fails is tried again for a while, during which the appointments of others are removed. If it has removed nothing by then, no other of
//! its appointments is tried, so that one that hangs delays the erasure only once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use uuid::Uuid;

use super::work::{BATCH, Progress, write};
use crate::domain::calendar::{Booking, Calendar};
use crate::domain::clock::Micros;
use crate::domain::erasure::{ErasureJob, RemainingAppointment, ServerFailure};
use crate::domain::error::Error;
use crate::domain::ids::BookingId;
use crate::service::{Services, workspace_hosts};
use crate::store::erasures::bookings::{self, ErasedBookings};
use crate::store::{Conn, resource};
use crate::tools::{RemoveError, remove_event};

/// How many appointments of an erasure are removed from servers at once.
const CONCURRENCY: usize = 4;
/// How long the removal of one may take. Less than the claim of an erasure.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server that fails is tried again, and the pause before each time.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
const SERVER_PAUSE: Duration = Duration::from_secs(10);
/// How long the request of a call that was broken off may still arrive at its server.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// What became of the appointment of a booking.
enum Removal {
    /// It is on no server.
    Done,
    Removed,
    /// Its server, asked at this time, has failed.
    Failed(Micros),
    /// It is tried again later.
    Later,
    /// It stays on its server.
    Remains,
}

/// Removes the content of bookings, and their copies on CalDAV servers. Those that are still to come are
/// cancelled.
pub(super) async fn erase_bookings(
    services: &Services,
    job: &ErasureJob,
    which: ErasedBookings,
    stop_at: Instant,
) -> Result<Progress, Error> {
    let workspace = job.workspace;
    write(services, job, async |conn| bookings::clear(conn, workspace, which).await).await?;
    let (mut after, mut progress) = (BookingId(Uuid::nil()), Progress::Emptied);
    loop {
        let list = async |conn: Conn<'_>| bookings::list(conn, workspace, which, after, BATCH).await;
        let found = services.db.read(workspace, list).await?;
        let Some(newest) = found.last() else { return Ok(progress) };
        after = newest.id;
        for few in found.chunks(CONCURRENCY) {
            if Instant::now() >= stop_at {
                return Ok(Progress::Unfinished);
            }
            match erase_few(services, job, few).await? {
                Progress::Emptied => {}
                Progress::Unfinished => return Ok(Progress::Unfinished),
                Progress::Waiting => progress = Progress::Waiting,
            }
        }
    }
}

/// Erases a few bookings at once. If it becomes known that a server fails or works again, the rest is left to the next slice of work, whose
/// job says so.
async fn erase_few(services: &Services, job: &ErasureJob, few: &[Booking]) -> Result<Progress, Error> {
    let removals = join_all(few.iter().map(|booking| remove_appointment(services, job, booking))).await;
    let (mut is_waiting, mut working, mut failing) = (false, BTreeSet::new(), job.failing_calendars.clone());
    for (booking, removal) in few.iter().zip(removals) {
        match removal? {
            Removal::Done => clear(services, job, booking, false).await?,
            Removal::Removed => {
                working.insert(booking.calendar);
                clear(services, job, booking, false).await?;
            }
            Removal::Remains => clear(services, job, booking, true).await?,
            Removal::Failed(Micros(at)) => {
                let failure =
                    failing.entry(booking.calendar).or_insert(ServerFailure { first: at, last: at });
                failure.last = services.clock.now().0;
                is_waiting = true;
            }
            Removal::Later => is_waiting = true,
        }
    }
    failing.retain(|calendar, _| !working.contains(calendar));
    let is_changed = failing != job.failing_calendars;
    if is_changed {
        write(services, job, async |conn| bookings::set_failing_calendars(conn, job, &failing).await).await?;
    }
    Ok(match (is_changed, is_waiting) {
        (true, _) => Progress::Unfinished,
        (false, true) => Progress::Waiting,
        (false, false) => Progress::Emptied,
    })
}

/// Removes an appointment from its server, unless the server has just failed or has failed for too long.
async fn remove_appointment(
    services: &Services,
    job: &ErasureJob,
    booking: &Booking,
) -> Result<Removal, Error> {
    if booking.resource.is_none() || booking.cancelled_at.is_some() {
        return Ok(Removal::Done);
    }
    let now = services.clock.now();
    if booking.held_by.is_some() && now.since(job.created_at) < CALL_TIMEOUT {
        return Ok(Removal::Later);
    }
    if let Some(failure) = job.failing_calendars.get(&booking.calendar) {
        if now.since(Micros(failure.first)) >= SERVER_PATIENCE {
            tracing::warn!(booking.id = %booking.id, "an appointment stays on its server, which fails");
            return Ok(Removal::Remains);
        }
        if now.since(Micros(failure.last)) < SERVER_PAUSE {
            return Ok(Removal::Later);
        }
    }
    match remove_from_server(services, booking).await? {
        Ok(()) => Ok(Removal::Removed),
        Err(RemoveError::Caldav(error)) => {
            let error = error.as_ref() as &dyn std::error::Error;
            tracing::info!(booking.id = %booking.id, error, "an appointment is removed from its server later");
            Ok(Removal::Failed(now))
        }
        Err(error @ RemoveError::OtherCalendar) => {
            tracing::warn!(booking.id = %booking.id, "an appointment stays on its server: {error}");
            Ok(Removal::Remains)
        }
    }
}

async fn remove_from_server(
    services: &Services,
    booking: &Booking,
) -> Result<Result<(), RemoveError>, Error> {
    let workspace = booking.workspace;
    let read = async |mut conn: Conn<'_>| {
        let calendar = resource::find::<Calendar>(conn.reborrow(), workspace, booking.calendar).await?;
        Ok((calendar, workspace_hosts::load(conn, workspace).await?))
    };
    let (calendar, allow) = services.db.read(workspace, read).await?;
    let caldav = calendar.as_ref().and_then(|calendar| calendar.caldav.as_deref());
    let removal = remove_event(caldav, booking, &services.tools, &allow);
    let removed = tokio::time::timeout(REMOVAL_TIMEOUT, removal).await;
    Ok(removed.unwrap_or_else(|elapsed| Err(RemoveError::Caldav(Box::new(elapsed)))))
}

/// Removes the content of a booking, and names its appointment if that `remains` on its server.
async fn clear(services: &Services, job: &ErasureJob, booking: &Booking, remains: bool) -> Result<(), Error> {
    let now = services.clock.now();
    let is_over = Micros::from(booking.time.end) <= now;
    let cancelled_at = (!is_over).then_some(now);
    let remaining = remains.then(|| RemainingAppointment {
        calendar_id: booking.calendar,
        booking_id: booking.id,
        event: booking.call.clone(),
    });
    let erase = async |conn: Conn<'_>| {
        bookings::erase(conn, job, booking, cancelled_at, remaining.as_ref(), now).await
    };
    write(services, job, erase).await
}
