//! A calendar on a server, and what our own store knows of it.

use super::fault::Fault;
use super::remote::Remote;
use crate::domain::calendar::{Caldav, CalendarRules, Interval, ReadResource};
use crate::domain::ids::CalendarId;
use crate::store::calendars::{self, Held};
use crate::store::{Db, StoreError};
use crate::tools::{Adapters, CallContext};

/// How many events that nobody booked are removed in one go.
const MAX_REMOVED: usize = 8;

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

    /// When it is busy within a range; what the call `own` has made does not count.
    ///
    /// Holds are read first: one that has gone by then had been put on the server before that is read.
    pub(super) async fn busy(
        &self,
        range: Interval,
        own: Option<&str>,
        context: &CallContext<'_>,
    ) -> Result<Vec<Interval>, NotRead> {
        let workspace = context.workspace;
        let held =
            async |conn: crate::store::Conn<'_>| calendars::held(conn, workspace, self.id, range).await;
        let held = self.db.reading(held).await?;
        let mut events = self.remote.events(&self.rules, range, context.allow_hosts).await?;
        self.remove_dead(&mut events, &held, own, context).await;
        let others = events.into_iter().filter(|event| own.is_none_or(|own| event.uid != own));
        let on_server = others.flat_map(|event| event.busy);
        let held = held.busy.into_iter().filter(|(call, _)| own.is_none_or(|own| call != own));
        Ok(on_server.chain(held.map(|(_, time)| time)).collect())
    }

    /// An event whose turn ended before it could be told of was booked by nobody: it does not count, and goes.
    /// One that a person has moved since stays theirs.
    async fn remove_dead(
        &self,
        events: &mut Vec<ReadResource>,
        held: &Held,
        own: Option<&str>,
        context: &CallContext<'_>,
    ) {
        let is_dead = |event: &ReadResource| {
            own.is_none_or(|own| event.uid != own)
                && held.dead.iter().any(|(call, time)| *call == event.uid && event.busy == [*time])
        };
        let dead: Vec<ReadResource> = events.extract_if(.., |event| is_dead(event)).collect();
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
