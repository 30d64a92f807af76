//! Carries out an erasure, step by step: marks its conversations as deleted, removes their content in small transactions, and their
//! appointments from CalDAV servers. Each step may be repeated, so a process may die anywhere.

use std::error::Error as _;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::domain::calendar::{Booking, Calendar};
use crate::domain::clock::Micros;
use crate::domain::erasure::{ErasureJob, ErasureTarget, RemainingAppointment};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, TurnId};
use crate::service::{Services, usage, workspace_hosts};
use crate::store::erasures::{bookings, content, targets};
use crate::store::{Conn, StoreError, erasures, idempotency, resource};
use crate::tools::{RemoveError, remove_event};
use crate::writer::DeleteConversations;

/// How many conversations are marked at once, under the lock of their workspace.
const MARK_BATCH: i64 = 16;
/// How many old conversations are looked at in one query.
const SCAN_BATCH: i64 = 128;
/// How many conversations are read at once, whose content is to be removed.
const CONVERSATION_BATCH: i64 = 16;
/// How many rows one transaction removes at most.
const BATCH: i64 = 64;
/// The pause between transactions, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a server that cannot be reached is tried again.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
/// How long the request of a call that was broken off may still arrive at its server.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// How far a slice of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left in the tables.
    Emptied,
    /// The time of the slice is over.
    Unfinished,
    /// A server is tried again later.
    Waiting,
}

/// Works on an erasure until a time.
pub async fn advance(services: &Services, job: &ErasureJob, stop_at: Instant) -> Result<Progress, Error> {
    if !job.is_marked && !mark(services, job, stop_at).await? {
        return Ok(Progress::Unfinished);
    }
    usage::catch_up(&services.db, job.workspace).await?;
    let mut is_waiting = false;
    loop {
        let list = async |conn: Conn<'_>| targets::list_marked(conn, job, CONVERSATION_BATCH).await;
        let conversations = services.db.read(job.workspace, list).await?;
        if conversations.is_empty() {
            break;
        }
        for conversation in conversations {
            match empty(services, job, conversation, stop_at).await? {
                Progress::Emptied => {}
                Progress::Unfinished => return Ok(Progress::Unfinished),
                Progress::Waiting => is_waiting = true,
            }
        }
        if is_waiting {
            return Ok(Progress::Waiting);
        }
    }
    let now = services.clock.now();
    write(services, job, async |conn| erasures::set_emptied(conn, job, now).await).await?;
    Ok(Progress::Emptied)
}

/// Runs a small transaction, and lets others have their turn.
async fn write<T>(
    services: &Services,
    job: &ErasureJob,
    work: impl AsyncFnOnce(Conn<'_>) -> Result<T, StoreError>,
) -> Result<T, Error> {
    let written = services.db.write(job.workspace, work).await?;
    tokio::time::sleep(PAUSE).await;
    Ok(written)
}

/// Marks the conversations of an erasure as deleted. Returns false if there are more when the time is over.
async fn mark(services: &Services, job: &ErasureJob, stop_at: Instant) -> Result<bool, Error> {
    let mut job = job.clone();
    while Instant::now() < stop_at {
        let Some(conversations) = next_targets(services, &mut job).await? else {
            let now = services.clock.now();
            write(services, &job, async |conn| erasures::set_marked(conn, &job, now).await).await?;
            return Ok(true);
        };
        if !conversations.is_empty() {
            let (workspace, erasure) = (job.workspace, job.id);
            services.writer.execute(DeleteConversations { workspace, erasure, conversations }).await?;
        }
        if let ErasureTarget::Inactive { scanned: Some(scanned), .. } = job.target {
            write(services, &job, async |conn| targets::set_scanned(conn, &job, scanned).await).await?;
        }
    }
    Ok(false)
}

/// The next conversations to mark; `None` if there are no more.
async fn next_targets(
    services: &Services,
    job: &mut ErasureJob,
) -> Result<Option<Vec<ConversationId>>, Error> {
    let (workspace, before) = (job.workspace, job.created_at);
    let found = match &mut job.target {
        // It was marked when it was accepted.
        ErasureTarget::Conversation(_) => Vec::new(),
        ErasureTarget::ExternalIdentifier(name) => {
            let list = async |conn: Conn<'_>| {
                targets::list_by_external_identifier(conn, workspace, name, before, MARK_BATCH).await
            };
            services.db.read(workspace, list).await?
        }
        ErasureTarget::Sender(name) => {
            let list = async |conn: Conn<'_>| {
                targets::list_by_sender(conn, workspace, name, before, MARK_BATCH).await
            };
            services.db.read(workspace, list).await?
        }
        ErasureTarget::Identity(name) => {
            let list = async |conn: Conn<'_>| {
                targets::list_by_identity(conn, workspace, name, before, MARK_BATCH).await
            };
            services.db.read(workspace, list).await?
        }
        ErasureTarget::Inactive { since, scanned } => {
            let (since, after) = (*since, *scanned);
            let list =
                async |conn: Conn<'_>| targets::list_old(conn, workspace, since, after, SCAN_BATCH).await;
            let old = services.db.read(workspace, list).await?;
            let limit = usize::try_from(MARK_BATCH).unwrap_or(usize::MAX);
            let (mut inactive, mut position) = (Vec::new(), None);
            for conversation in old {
                if inactive.len() >= limit {
                    break;
                }
                position = Some((conversation.created_at, conversation.id));
                inactive.extend(conversation.is_inactive.then_some(conversation.id));
            }
            *scanned = position.or(after);
            return Ok(position.map(|_| inactive));
        }
    };
    Ok(Some(found).filter(|found| !found.is_empty()))
}

/// Removes the content of a conversation.
async fn empty(
    services: &Services,
    job: &ErasureJob,
    conversation: ConversationId,
    stop_at: Instant,
) -> Result<Progress, Error> {
    let (workspace, id) = (job.workspace, conversation);
    match empty_turns(services, job, conversation, stop_at).await? {
        Progress::Emptied => {}
        other @ (Progress::Unfinished | Progress::Waiting) => return Ok(other),
    }
    while write(services, job, async |conn| content::remove_messages(conn, job, id, BATCH).await).await? > 0 {
        if Instant::now() >= stop_at {
            return Ok(Progress::Unfinished);
        }
    }
    let mut after = 0;
    loop {
        if Instant::now() >= stop_at {
            return Ok(Progress::Unfinished);
        }
        let now = services.clock.now();
        let redact = async |conn: Conn<'_>| content::redact_events(conn, job, id, after, BATCH, now).await;
        match write(services, job, redact).await? {
            Some(last) => after = last,
            None => break,
        }
    }
    while write(services, job, async |conn| idempotency::erase(conn, workspace, id, BATCH).await).await? > 0 {
    }
    match erase_bookings(services, job, conversation).await? {
        Progress::Emptied => {}
        other @ (Progress::Unfinished | Progress::Waiting) => return Ok(other),
    }
    let now = services.clock.now();
    write(services, job, async |conn| content::finish(conn, job, id, now).await).await?;
    Ok(Progress::Emptied)
}

/// Removes the journals of the turns of a conversation, and what the turns say themselves.
async fn empty_turns(
    services: &Services,
    job: &ErasureJob,
    conversation: ConversationId,
    stop_at: Instant,
) -> Result<Progress, Error> {
    let mut after = TurnId(Uuid::nil());
    loop {
        let read =
            async |conn: Conn<'_>| content::list_turns(conn, job.workspace, conversation, after, BATCH).await;
        let turns = services.db.read(job.workspace, read).await?;
        let Some((_, newest)) = turns.last().copied() else { return Ok(Progress::Emptied) };
        while write(services, job, async |conn| content::remove_journals(conn, &turns).await).await? > 0 {
            if Instant::now() >= stop_at {
                return Ok(Progress::Unfinished);
            }
        }
        write(services, job, async |conn| content::clear_turns(conn, &turns).await).await?;
        after = newest;
        if Instant::now() >= stop_at {
            return Ok(Progress::Unfinished);
        }
    }
}

/// Removes the content of the bookings of a conversation, and their copies on CalDAV servers. Those that are still to come are
/// cancelled.
async fn erase_bookings(
    services: &Services,
    job: &ErasureJob,
    conversation: ConversationId,
) -> Result<Progress, Error> {
    loop {
        let list = async |conn: Conn<'_>| bookings::list(conn, job.workspace, conversation, BATCH).await;
        let found = services.db.read(job.workspace, list).await?;
        if found.is_empty() {
            return Ok(Progress::Emptied);
        }
        for booking in found {
            if !erase_booking(services, job, &booking).await? {
                return Ok(Progress::Waiting);
            }
        }
    }
}

/// Returns false if its server is tried again later.
async fn erase_booking(services: &Services, job: &ErasureJob, booking: &Booking) -> Result<bool, Error> {
    let now = services.clock.now();
    let age = now.since(job.created_at);
    let mut remaining = None;
    if booking.resource.is_some() && booking.cancelled_at.is_none() {
        if booking.held_by.is_some() && age < CALL_TIMEOUT {
            return Ok(false);
        }
        match remove_from_server(services, booking).await? {
            Ok(()) => {}
            Err(RemoveError::Caldav(error)) if age < SERVER_PATIENCE => {
                let error = error.as_ref() as &dyn std::error::Error;
                tracing::info!(booking.id = %booking.id, error, "an appointment is removed from its server later");
                return Ok(false);
            }
            Err(error) => {
                let source = error.source();
                tracing::warn!(booking.id = %booking.id, source, "an appointment stays on its server: {error}");
                remaining = Some(RemainingAppointment {
                    calendar_id: booking.calendar,
                    booking_id: booking.id,
                    event: booking.call.clone(),
                });
            }
        }
    }
    let is_over = Micros::from(booking.time.end) <= now && booking.resource.is_none();
    let cancelled_at = (!is_over).then_some(now);
    let erase = async |conn: Conn<'_>| {
        bookings::erase(conn, job, booking, cancelled_at, remaining.as_ref(), now).await
    };
    write(services, job, erase).await?;
    Ok(true)
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
    Ok(remove_event(caldav, booking, &services.tools, &allow).await)
}
