//! Readers that follow the feed as it grows: long polls and streams. What this process writes wakes
//! them; what others write is seen by one poll for all of them. None holds a connection as it waits.

mod followers;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use followers::Place;
pub use followers::{FollowerBounds, Followers};

use super::Services;
use super::read_events::{Ask, Reader, begin};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::store::{events, keys};

/// How many polls go by between two looks at the followers' keys: one second.
const POLLS_A_LOOK: u32 = 4;
/// How long to wait where a feed that was said to reach further does not: its store was put back.
const STANDSTILL: Duration = Duration::from_millis(250);

/// A reader with its place among those that follow; given up when it is dropped.
#[derive(Debug)]
pub struct Follower {
    place: Place,
    reader: Reader,
    /// Whether it has looked at the store since it has its place: from then on it is woken.
    has_looked: bool,
}

/// Begins to follow, at the place that is asked for. [`Error::Overloaded`] where too many do.
pub async fn follow(services: &Services, account: &Account, ask: &Ask) -> Result<Follower, Error> {
    let reader = {
        let _turn = services.followers.turn_to_read().await;
        begin(services, account, ask).await?
    };
    join(services, account, reader)
}

/// Takes a place for a reader that has begun.
pub(super) fn join(services: &Services, account: &Account, reader: Reader) -> Result<Follower, Error> {
    let place = services.followers.join(account)?;
    Ok(Follower { place, reader, has_looked: false })
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
                () = self.place.ended() => return Ok(None),
                page = self.place.page(services, &self.reader, self.has_looked, limit) => page?,
            };
            let stands = self.has_looked && page.next == self.reader.cursor;
            self.has_looked = true;
            self.reader.cursor = page.next;
            if !page.events.is_empty() {
                return Ok(Some(page.events));
            }
            if stands {
                self.pause(STANDSTILL).await;
            }
        }
    }

    /// Whether the process stops, or the reader's key holds no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.place.has_ended()
    }

    /// Waits for so long, or until the reader is to end.
    pub async fn pause(&self, length: Duration) {
        // Whichever comes first: the next call of `next` tells them apart.
        let _ = tokio::time::timeout(length, self.place.ended()).await;
    }
}

/// Looks once at what other processes have written, in one query for all workspaces that are
/// followed here; and now and then at the followers' keys. `round` counts the calls.
pub async fn poll(services: &Services, round: u32) -> Result<(), Error> {
    let followers = &services.followers;
    let followed = followers.workspaces();
    if followed.is_empty() {
        return Ok(());
    }
    for (workspace, head) in services.db.reading(async |conn| events::heads(conn, &followed).await).await? {
        followers.raise(workspace, head);
    }
    if round.is_multiple_of(POLLS_A_LOOK) {
        let (asked, now) = (followers.keys(), services.clock.now());
        let good = services.db.reading(async |conn| keys::list_good(conn, &asked, now).await).await?;
        followers.end_all_but(&asked, &good);
    }
    Ok(())
}
