//! The events of a workspace, page by page, in the order in which they became true.

use std::sync::Arc;
use std::time::Duration;

use super::Services;
use super::follow_events;
use super::page;
use super::read_conversation;
use crate::domain::account::Account;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::event::{
    CursorExpiry, CursorRange, Event, EventCursor, EventFilter, EventType, ExpiredCursor,
};
use crate::domain::ids::{EventId, WorkspaceId};
use crate::store::{Conn, PageRows, ReadLimit, events};

/// The position after which a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// Before the oldest retained event.
    Oldest,
    /// After the latest event.
    Latest,
    Cursor(EventCursor),
    Event(EventId),
}

/// A reader's query.
#[derive(Clone, Debug)]
pub struct FeedQuery {
    pub after: StartPosition,
    /// The source of `after` in the request, for error texts, such as `Field 'after'`.
    pub after_source: &'static str,
    /// All types if empty.
    pub types: Vec<EventType>,
    /// As it was sent.
    pub conversation: Option<String>,
}

/// A reader's position in its workspace's feed.
#[derive(Clone, Debug)]
pub struct FeedReader {
    pub workspace: WorkspaceId,
    /// The epoch of the store.
    pub epoch: i64,
    /// All events up to here have been read, or do not match the filter.
    pub cursor: i64,
    pub filter: EventFilter,
}

/// Events, and the cursor after which the reader continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    pub events: Vec<Arc<Event>>,
    pub next: i64,
}

impl FeedReader {
    /// Its position, or that of an event that it has read.
    #[must_use]
    pub fn position(&self, number: i64) -> EventCursor {
        EventCursor { epoch: self.epoch, number }
    }
}

/// At most `limit` matching events, or fewer if they are large, and the cursor after which the reader continues. If there are none, waits
/// for the first for at most `wait`, then returns none.
pub async fn list(
    services: &Services,
    account: &Account,
    query: &FeedQuery,
    limit: usize,
    wait: Duration,
) -> Result<(Vec<Arc<Event>>, EventCursor), Error> {
    let deadline = tokio::time::Instant::now() + wait;
    let reader = open_reader(services, account, query).await?;
    let limit = page::read_limit(limit);
    let page = read(services, reader.workspace, reader.cursor, &reader.filter, limit).await?;
    if !page.events.is_empty() || wait.is_zero() {
        return Ok((page.events, reader.position(page.next)));
    }
    let mut follower = follow_events::join(services, account, FeedReader { cursor: page.next, ..reader })?;
    let events = match tokio::time::timeout_at(deadline, follower.next(services, limit)).await {
        Ok(events) => events?.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    Ok((events, follower.cursor()))
}

/// Resolves the position at which a reader begins.
///
/// # Errors
/// [`Error::CursorExpired`] if it is before the oldest retained event, or of another epoch; [`Error::Invalid`] if it never existed.
pub async fn open_reader(
    services: &Services,
    account: &Account,
    query: &FeedQuery,
) -> Result<FeedReader, Error> {
    let conversation = match &query.conversation {
        Some(name) => Some(read_conversation::find(services, account, name).await?.id),
        None => None,
    };
    let filter = EventFilter { types: query.types.clone(), conversation };
    open_at(services, account.workspace, (query.after, query.after_source), filter).await
}

/// [`open_reader`], for a workspace. `source` is that of the position in the request, for error texts.
pub(super) async fn open_at(
    services: &Services,
    workspace: WorkspaceId,
    (after, source): (StartPosition, &'static str),
    filter: EventFilter,
) -> Result<FeedReader, Error> {
    let found = match after {
        StartPosition::Event(id) => {
            services.db.read(workspace, async |conn| events::find_cursor(conn, workspace, id).await).await?
        }
        StartPosition::Cursor(cursor) => Some(cursor.number),
        StartPosition::Oldest | StartPosition::Latest => None,
    };
    let read = async |conn: Conn<'_>| events::cursor_range(conn, workspace).await;
    let (range, oldest) = services.db.read(workspace, read).await?;
    let cursor = match (after, found) {
        // Positions up to the backup have the same numbers in both epochs, and a later one has none that is used again.
        (StartPosition::Cursor(cursor), _) if cursor.epoch != range.epoch => {
            let resume = range.nearest(cursor.number);
            return Err(Error::CursorExpired(ExpiredCursor { expiry: CursorExpiry::Restored, resume }));
        }
        (StartPosition::Oldest, _) => range.oldest - 1,
        (StartPosition::Latest, _) => range.latest,
        (StartPosition::Event(id), None) if was_removed(id, range, oldest) => return Err(expired(range)),
        (_, Some(cursor)) if cursor <= range.latest => {
            check_retained(cursor, range)?;
            cursor
        }
        (StartPosition::Cursor(_), _) => {
            let latest = range.nearest(range.latest);
            let text = format!("{source} is ahead of this workspace's log: its newest cursor is {latest}.");
            return Err(Error::Conflict(text));
        }
        (StartPosition::Event(_), _) => {
            let text = format!("{source} names no event of this feed.");
            return Err(Error::Conflict(text));
        }
    };
    Ok(FeedReader { workspace, epoch: range.epoch, cursor, filter })
}

/// The first matching events after a cursor. The page's `next` is past the events that do not match, but never past one that does
/// and did not fit into the limit.
pub(super) async fn read(
    services: &Services,
    workspace: WorkspaceId,
    after: i64,
    filter: &EventFilter,
    limit: ReadLimit,
) -> Result<EventPage, Error> {
    let query = async |conn: Conn<'_>| events::read_after(conn, workspace, after, filter, limit).await;
    let (range, PageRows { rows, has_more }) = services.db.read(workspace, query).await?;
    check_retained(after, range)?;
    let last = rows.last().filter(|_| has_more);
    let next = last.map_or(range.latest, |last| last.cursor).max(after);
    Ok(EventPage { events: rows.into_iter().map(Arc::new).collect(), next })
}

/// Checks that all events after a cursor are still retained.
fn check_retained(after: i64, range: CursorRange) -> Result<(), Error> {
    if after + 1 < range.oldest { Err(expired(range)) } else { Ok(()) }
}

fn expired(range: CursorRange) -> Error {
    let resume = range.nearest(range.oldest - 1);
    Error::CursorExpired(ExpiredCursor { expiry: CursorExpiry::Removed, resume })
}

/// Whether a missing event is older than the oldest retained one, by the time in its id.
fn was_removed(id: EventId, range: CursorRange, oldest: Option<Micros>) -> bool {
    let Some(timestamp) = id.0.get_timestamp() else { return false };
    let (seconds, nanos) = timestamp.to_unix();
    let at = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000) + i64::from(nanos / 1000);
    range.oldest > 1 && oldest.is_none_or(|oldest| Micros(at) <= oldest)
}
