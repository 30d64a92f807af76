//! Readers that follow the feed as it grows: long polls and streams. What this process writes wakes
//! them; what others write is seen by one poll for all of them. None holds a connection as it waits.

use std::sync::Arc;
use std::time::Duration;

use super::Services;
use super::read_events::{FeedQuery, FeedReader, open_reader};
use super::state::Subscription;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::store::{events, keys};

/// How many polls go by between two looks at the followers' keys: one second.
const POLLS_PER_KEY_CHECK: u32 = 4;
/// How long to wait where a feed that was said to reach further does not: its store was put back.
const STALL_PAUSE: Duration = Duration::from_millis(250);

/// A reader with its place among those that follow; given up when it is dropped.
#[derive(Debug)]
pub struct Follower {
    subscription: Subscription,
    reader: FeedReader,
    /// Whether it has looked at the store since it has its place: from then on it is woken.
    has_read: bool,
}

/// Begins to follow, at the place that is asked for. [`Error::Overloaded`] where too many do.
pub async fn follow(services: &Services, account: &Account, query: &FeedQuery) -> Result<Follower, Error> {
    let reader = {
        let _permit = services.followers.acquire_read_permit().await;
        open_reader(services, account, query).await?
    };
    join(services, account, reader)
}

/// Takes a place for a reader that has begun.
pub(super) fn join(services: &Services, account: &Account, reader: FeedReader) -> Result<Follower, Error> {
    let subscription = services.followers.subscribe(account)?;
    Ok(Follower { subscription, reader, has_read: false })
}

impl Follower {
    /// All up to here has been given, or was not wanted.
    #[must_use]
    pub fn cursor(&self) -> i64 {
        self.reader.cursor
    }

    /// The next wanted events, at most `limit`, once there are any. None once the process stops or
    /// the reader's key holds no more. May be dropped at any time: nothing is lost by that.
    pub async fn next(
        &mut self,
        services: &Services,
        limit: usize,
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

    /// Whether the process stops, or the reader's key holds no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.subscription.has_ended()
    }

    /// Waits for so long, or until the reader is to end.
    pub async fn pause(&self, length: Duration) {
        // Whichever comes first: the next call of `next` tells them apart.
        let _ = tokio::time::timeout(length, self.subscription.ended()).await;
    }
}

/// Looks once at what other processes have written, in one query for all workspaces that are
/// followed here; and now and then at the followers' keys. `round` counts the calls.
pub async fn poll(services: &Services, round: u32) -> Result<(), Error> {
    let followers = &services.followers;
    let workspaces = followers.workspaces();
    if workspaces.is_empty() {
        return Ok(());
    }
    for (workspace, latest_cursor) in
        services.db.read(async |conn| events::latest_cursors(conn, &workspaces).await).await?
    {
        followers.advance(workspace, latest_cursor);
    }
    if round.is_multiple_of(POLLS_PER_KEY_CHECK) {
        let (checked, now) = (followers.keys(), services.clock.now());
        let valid = services.db.read(async |conn| keys::list_valid(conn, &checked, now).await).await?;
        followers.end_invalid_keys(&checked, &valid);
    }
    Ok(())
}
