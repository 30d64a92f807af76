//! Carries out an erasure, step by step: marks its conversations as deleted, removes their content in small transactions, and their
//! appointments from CalDAV servers. Each step may be repeated, so a process may die anywhere.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::appointments::erase_bookings;
use crate::domain::clock::CLOCK_TOLERANCE;
use crate::domain::erasure::{ErasureJob, ErasureTarget};
use crate::domain::error::Error;
use crate::domain::ids::{BookingId, CalendarId, ConversationId, TurnId};
use crate::service::calendars::booking_scope;
use crate::service::{Services, usage};
use crate::store::erasures::bookings::ErasedBookings;
use crate::store::erasures::{bookings, content, targets};
use crate::store::{Conn, StoreError, erasures, idempotency};
use crate::writer::DeleteConversations;

/// How many conversations are marked at once, under the lock of their workspace.
const MARK_BATCH: i64 = 16;
/// How many old conversations are looked at in one query.
const SCAN_BATCH: i64 = 128;
/// How many conversations are read at once, whose content is to be removed.
const CONVERSATION_BATCH: i64 = 16;
/// How many rows one transaction removes at most.
pub(super) const BATCH: i64 = 64;
/// The pause between transactions, so that on SQLite the writer gets its turn.
const PAUSE: Duration = Duration::from_millis(2);

/// How far a slice of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left in the tables.
    Emptied,
    /// The time of the slice is over.
    Unfinished,
    /// A server is tried again later, or another erasure removes the rest.
    Waiting,
}

/// Works on an erasure until a time.
pub async fn advance(services: &Services, job: &ErasureJob, stop_at: Instant) -> Result<Progress, Error> {
    if !job.is_marked && !mark(services, job, stop_at).await? {
        return Ok(Progress::Unfinished);
    }
    usage::catch_up(&services.db, job.workspace).await?;
    let progress = match job.target {
        ErasureTarget::Booking(calendar, id) => empty_booking(services, job, (calendar, id), stop_at).await?,
        ErasureTarget::Conversation(_) | ErasureTarget::Person { .. } | ErasureTarget::Inactive { .. } => {
            empty_conversations(services, job, stop_at).await?
        }
    };
    match progress {
        Progress::Emptied => {}
        Progress::Unfinished | Progress::Waiting => return Ok(progress),
    }
    if services.db.read(job.workspace, async |conn| targets::is_awaiting(conn, job).await).await? {
        return Ok(Progress::Waiting);
    }
    let now = services.clock.now();
    write(services, job, async |conn| erasures::set_emptied(conn, job, now).await).await?;
    Ok(Progress::Emptied)
}

/// Removes the content of the conversations that are marked. One that waits for a server delays no other.
async fn empty_conversations(
    services: &Services,
    job: &ErasureJob,
    stop_at: Instant,
) -> Result<Progress, Error> {
    let (mut after, mut progress) = (ConversationId(Uuid::nil()), Progress::Emptied);
    loop {
        let list = async |conn: Conn<'_>| targets::list_marked(conn, job, after, CONVERSATION_BATCH).await;
        let conversations = services.db.read(job.workspace, list).await?;
        let Some(newest) = conversations.last() else { return Ok(progress) };
        after = *newest;
        for conversation in conversations {
            match empty(services, job, conversation, stop_at).await? {
                Progress::Emptied => {}
                Progress::Unfinished => return Ok(Progress::Unfinished),
                Progress::Waiting => progress = Progress::Waiting,
            }
            // A server may have used up the time.
            if progress == Progress::Waiting && Instant::now() >= stop_at {
                return Ok(progress);
            }
        }
    }
}

/// Removes the content of a single booking, and the stored response to the request that made it.
async fn empty_booking(
    services: &Services,
    job: &ErasureJob,
    (calendar, id): (CalendarId, BookingId),
    stop_at: Instant,
) -> Result<Progress, Error> {
    let (workspace, scope) = (job.workspace, booking_scope(calendar));
    let text = serde_json::json!(id).to_string();
    let erase = async |conn: Conn<'_>| idempotency::erase_with_text(conn, workspace, &scope, &text).await;
    write(services, job, erase).await?;
    erase_bookings(services, job, ErasedBookings::One(calendar, id), stop_at).await
}

/// Runs a small transaction, and lets others have their turn.
pub(super) async fn write<T>(
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
            let command = DeleteConversations { workspace, erasure, conversations: conversations.clone() };
            services.writer.execute(command).await?;
            let wait = async |conn: Conn<'_>| targets::await_others(conn, &job, &conversations).await;
            write(services, &job, wait).await?;
        }
        write(services, &job, async |conn| targets::set_scanned(conn, &job).await).await?;
    }
    Ok(false)
}

/// The next conversations to mark; `None` if there are no more.
async fn next_targets(
    services: &Services,
    job: &mut ErasureJob,
) -> Result<Option<Vec<ConversationId>>, Error> {
    let workspace = job.workspace;
    // A process whose clock is ahead may have created one just before the request.
    let before = job.created_at.plus(CLOCK_TOLERANCE);
    match &mut job.target {
        // It was marked when it was accepted.
        ErasureTarget::Conversation(_) | ErasureTarget::Booking(..) => Ok(None),
        ErasureTarget::Person { person, scanned } => {
            let position = (*scanned, before);
            let list = async |conn: Conn<'_>| {
                targets::list_by_person(conn, workspace, person, position, MARK_BATCH).await
            };
            let found = services.db.read(workspace, list).await?;
            let Some(newest) = found.last() else { return Ok(None) };
            *scanned = Some(newest.id);
            let targets = found.into_iter().filter(|conversation| conversation.is_target);
            Ok(Some(targets.map(|conversation| conversation.id).collect()))
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
            Ok(position.map(|_| inactive))
        }
    }
}

/// Removes the content of a conversation: first what people, models and tools wrote, which no server that fails may delay, then its
/// appointments, and then what other erasures find the conversation by.
async fn empty(
    services: &Services,
    job: &ErasureJob,
    conversation: ConversationId,
    stop_at: Instant,
) -> Result<Progress, Error> {
    let (workspace, id, which) = (job.workspace, conversation, ErasedBookings::OfConversation(conversation));
    let is_redacted =
        empty_turns(services, job, id, stop_at).await? && redact_events(services, job, id, stop_at).await?;
    if !is_redacted {
        return Ok(Progress::Unfinished);
    }
    write(services, job, async |conn| content::clear_conversation(conn, workspace, id).await).await?;
    if services.db.read(workspace, async |conn| bookings::exist(conn, workspace, which).await).await? {
        if !clear_messages(services, job, id, stop_at).await? {
            return Ok(Progress::Unfinished);
        }
        match erase_bookings(services, job, which, stop_at).await? {
            Progress::Emptied => {}
            other @ (Progress::Unfinished | Progress::Waiting) => return Ok(other),
        }
    }
    // Last, because the erasure of a sender finds the conversation by them, and waits for this one.
    while write(services, job, async |conn| content::remove_messages(conn, job, id, BATCH).await).await? > 0 {
        if Instant::now() >= stop_at {
            return Ok(Progress::Unfinished);
        }
    }
    let now = services.clock.now();
    write(services, job, async |conn| content::finish(conn, job, id, now).await).await?;
    Ok(Progress::Emptied)
}

/// Removes the data of the events of a conversation, and the stored responses of idempotency keys. Returns false if there are more when
/// the time is over.
async fn redact_events(
    services: &Services,
    job: &ErasureJob,
    id: ConversationId,
    stop_at: Instant,
) -> Result<bool, Error> {
    let (workspace, mut after) = (job.workspace, 0);
    loop {
        if Instant::now() >= stop_at {
            return Ok(false);
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
    Ok(true)
}

/// Removes what the messages of a conversation say, and their entries in the index that searches them. Returns false if there are more when the
/// time is over.
async fn clear_messages(
    services: &Services,
    job: &ErasureJob,
    id: ConversationId,
    stop_at: Instant,
) -> Result<bool, Error> {
    let (workspace, mut after) = (job.workspace, 0);
    loop {
        if Instant::now() >= stop_at {
            return Ok(false);
        }
        let clear = async |conn: Conn<'_>| content::clear_messages(conn, workspace, id, after, BATCH).await;
        match write(services, job, clear).await? {
            Some(last) => after = last,
            None => break,
        }
    }
    let remove = async |conn: Conn<'_>| content::remove_from_index(conn, workspace, id, BATCH).await;
    while write(services, job, remove).await? > 0 {
        if Instant::now() >= stop_at {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the journals of the turns of a conversation, and what the turns say themselves. Returns false if there are more when
/// the time is over.
async fn empty_turns(
    services: &Services,
    job: &ErasureJob,
    conversation: ConversationId,
    stop_at: Instant,
) -> Result<bool, Error> {
    let mut after = TurnId(Uuid::nil());
    loop {
        let read =
            async |conn: Conn<'_>| content::list_turns(conn, job.workspace, conversation, after, BATCH).await;
        let turns = services.db.read(job.workspace, read).await?;
        let Some((_, newest)) = turns.last().copied() else { return Ok(true) };
        while write(services, job, async |conn| content::remove_journals(conn, &turns).await).await? > 0 {
            if Instant::now() >= stop_at {
                return Ok(false);
            }
        }
        write(services, job, async |conn| content::clear_turns(conn, &turns).await).await?;
        after = newest;
        if Instant::now() >= stop_at {
            return Ok(false);
        }
    }
}
