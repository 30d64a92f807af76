//! Followers of the event feed: long polls and streams. Events that this process writes wake them; one poll for all
//! followers detects events of other processes. A waiting follower holds no database connection.

use std::sync::Arc;
use std::time::Duration;

use super::Services;
use super::read_events::{FeedQuery, FeedReader, open_reader};
use super::state::Subscription;
use super::typing;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::event::{Event, EventCursor};
use crate::store::{Conn, ReadLimit, conversations, events, keys};

/// How many polls pass between two checks of the followers' credentials: one second.
const POLLS_PER_CREDENTIAL_CHECK: u32 = 4;
/// The events of one read for a stream.
const STREAM_LIMIT: ReadLimit = ReadLimit { rows: 64, bytes: 64 * 1024 };
/// The pause when a feed ends before its known latest cursor: the database was restored from a backup.
const STALL_PAUSE: Duration = Duration::from_millis(250);

/// A reader that follows the feed; unsubscribes when it is dropped.
#[derive(Debug)]
pub struct Follower {
    subscription: Subscription,
    reader: FeedReader,
    /// Whether it has read since it subscribed; from then on it waits to be woken.
    has_read: bool,
}

/// Begins to follow at the requested position.
///
/// # Errors
/// [`Error::Overloaded`] if there are too many followers; an error if the workspace is suspended.
pub async fn follow(services: &Services, account: &Account, query: &FeedQuery) -> Result<Follower, Error> {
    account.check_not_suspended()?;
    let reader = {
        let _permit = services.followers.acquire_read_permit(account.workspace).await;
        open_reader(services, account, query).await?
    };
    join(services, account, reader)
}

/// Subscribes a reader that has already read.
pub(super) fn join(services: &Services, account: &Account, reader: FeedReader) -> Result<Follower, Error> {
    let subscription = services.followers.subscribe(account)?;
    Ok(Follower::new(subscription, reader))
}

impl Follower {
    pub(super) fn new(subscription: Subscription, reader: FeedReader) -> Self {
        Self { subscription, reader, has_read: false }
    }

    /// All events up to here were returned, or do not match the filter.
    #[must_use]
    pub fn cursor(&self) -> EventCursor {
        self.position(self.reader.cursor)
    }

    /// The cursor of an event that it has returned.
    #[must_use]
    pub fn position(&self, number: i64) -> EventCursor {
        self.reader.position(number)
    }

    /// Waits for the next matching events, for a stream: few enough for each of many clients to keep them until they are sent. `None`
    /// once the process stops or the credential becomes invalid. Cancel safe.
    pub async fn next_batch(&mut self, services: &Services) -> Result<Option<Vec<Arc<Event>>>, Error> {
        self.next(services, STREAM_LIMIT).await
    }

    /// Waits for the next matching events, within a limit. `None` once the process stops or the credential becomes invalid.
    /// Cancel safe.
    pub(super) async fn next(
        &mut self,
        services: &Services,
        limit: ReadLimit,
    ) -> Result<Option<Vec<Arc<Event>>>, Error> {
        loop {
            let page = tokio::select! {
                biased;
                () = self.subscription.ended() => return Ok(None),
                page = self.subscription.page(services, &self.reader, self.has_read, limit) => page?,
            };
            let is_stalled = self.has_read && page.next == self.reader.cursor;
            self.has_read = true;
            self.reader.cursor = page.next;
            if !page.events.is_empty() {
                return Ok(Some(page.events));
            }
            if is_stalled {
                self.pause(STALL_PAUSE).await;
            }
        }
    }

    /// Whether the process stops or the credential has become invalid.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.subscription.has_ended()
    }

    /// Waits for this long, or until the follower has ended.
    pub async fn pause(&self, length: Duration) {
        // Whichever comes first: the next call of `next` tells them apart.
        let _ = tokio::time::timeout(length, self.subscription.ended()).await;
    }
}

/// Reads the latest cursors of all followed workspaces in one query, in which followed conversations a person types and, in some rounds,
/// whether the followers' credentials are valid.
/// `round` counts the calls.
pub async fn poll(services: &Services, round: u32) -> Result<(), Error> {
    let followers = &services.followers;
    let workspaces = followers.workspaces();
    if workspaces.is_empty() {
        return Ok(());
    }
    for (workspace, latest_cursor) in
        services.db.control_read(async |conn| events::latest_cursors(conn, &workspaces).await).await?
    {
        followers.advance(workspace, latest_cursor);
    }
    if round.is_multiple_of(POLLS_PER_CREDENTIAL_CHECK) {
        let (checked, now) = (followers.keys(), services.clock.now());
        let list = async |conn: Conn<'_>| keys::list_following(conn, &checked, now).await;
        let valid = services.db.control_read(list).await?;
        followers.end_invalid_keys(&checked, &valid);
        let checked = followers.links();
        let list = async |conn: Conn<'_>| conversations::list_following(conn, &checked).await;
        let valid = services.db.control_read(list).await?;
        followers.end_invalid_links(&checked, &valid);
    }
    typing::poll(services).await
}
