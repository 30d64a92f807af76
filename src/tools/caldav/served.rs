//! A calendar on a server, and what our own store knows of it.

use std::time::Duration;

use super::fault::Fault;
use super::remote::Remote;
use crate::domain::calendar::{Caldav, CalendarRules, Interval, ReadResource};
use crate::domain::ids::CalendarId;
use crate::store::calendars;
use crate::store::{Conn, Db, StoreError};
use crate::tools::{Adapters, CallContext};

/// How many events that nobody booked are removed in one go: somebody waits meanwhile.
const MAX_REMOVED: usize = 2;
/// How long that may take.
const REMOVING: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Served {
    pub id: CalendarId,
    pub rules: CalendarRules,
    pub remote: Remote,
    pub db: Db,
}

/// Why it is not known when a calendar is busy.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRead {
    #[error(transparent)]
    Server(#[from] Fault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Served {
    pub(super) fn new(id: CalendarId, rules: &CalendarRules, at: &Caldav, adapters: &Adapters) -> Self {
        Self { id, rules: rules.clone(), remote: Remote::new(at, adapters), db: adapters.db.clone() }
    }

    /// When it is busy within a range; what the call `own` has made does not count. Events that nobody booked
    /// are removed on the way.
    pub(super) async fn busy(
        &self,
        range: Interval,
        own: Option<&str>,
        context: &CallContext<'_>,
    ) -> Result<Vec<Interval>, NotRead> {
        let (busy, dead) = self.read(range, own, context).await?;
        let removing = self.remove_dead(&dead, context);
        if tokio::time::timeout(REMOVING, removing).await.is_err() {
            tracing::warn!(calendar.id = %self.id, "events that nobody booked could not be removed in time");
        }
        Ok(busy)
    }

    /// The same, with nothing removed: between an event's making and its confirmation nothing else is done.
    pub(super) async fn busy_now(
        &self,
        range: Interval,
        own: &str,
        context: &CallContext<'_>,
    ) -> Result<Vec<Interval>, NotRead> {
        Ok(self.read(range, Some(own), context).await?.0)
    }

    /// When it is busy, and events whose turn ended before they could be told of, or that came too late: booked
    /// by nobody, they do not count. One that a person has moved since stays theirs.
    ///
    /// Holds are read first: one that has gone by then had been put on the server before that is read.
    async fn read(
        &self,
        range: Interval,
        own: Option<&str>,
        context: &CallContext<'_>,
    ) -> Result<(Vec<Interval>, Vec<ReadResource>), NotRead> {
        let (workspace, url) = (context.workspace, self.remote.url());
        let held = async |conn: Conn<'_>| calendars::held(conn, workspace, self.id, url, range).await;
        let held = self.db.reading(held).await?;
        let mut events = self.remote.events(&self.rules, range, context.allow_hosts).await?;
        events.retain(|event| own.is_none_or(|own| event.uid != own));
        let is_dead = |event: &ReadResource| {
            held.dead.iter().any(|(call, time)| *call == event.uid && event.busy == [*time])
        };
        let dead = events.extract_if(.., |event| is_dead(event)).collect();
        let held = held.busy.into_iter().filter(|(call, _)| own.is_none_or(|own| call != own));
        let on_server = events.into_iter().flat_map(|event| event.busy);
        Ok((on_server.chain(held.map(|(_, time)| time)).collect(), dead))
    }

    async fn remove_dead(&self, dead: &[ReadResource], context: &CallContext<'_>) {
        for event in dead.iter().take(MAX_REMOVED) {
            let address = self.remote.address(&event.uid);
            let removed = self.remote.remove(&address, &event.uid, context.allow_hosts).await;
            if let Err(fault) = removed {
                self.warn(&event.uid, &fault, "an event that nobody booked could not be removed");
                continue;
            }
            tracing::info!(calendar.id = %self.id, call.id = event.uid, "an event that nobody booked was removed");
        }
    }

    pub(super) fn warn(&self, call: &str, fault: &(dyn std::error::Error + 'static), what: &'static str) {
        tracing::warn!(calendar.id = %self.id, call.id = call, error = fault, "{what}");
    }
}
