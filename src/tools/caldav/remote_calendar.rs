//! A calendar on a server, combined with our own holds.

use std::sync::Arc;
use std::time::Duration;

use super::client::CaldavClient;
use super::error::CaldavError;
use crate::domain::calendar::{Caldav, CalendarRules, Interval};
use crate::domain::clock::Clock;
use crate::domain::ids::CalendarId;
use crate::domain::tool::CompiledCalendar;
use crate::formats::icalendar::ParsedResource;
use crate::store::bookings;
use crate::store::{Conn, Db, StoreError};
use crate::tools::{Adapters, CallContext};

/// The most orphaned events to remove during one call, because its caller waits.
const MAX_ORPHANS_REMOVED: usize = 2;
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(in crate::tools) struct RemoteCalendar {
    pub(super) id: CalendarId,
    pub(super) rules: CalendarRules,
    pub(super) client: CaldavClient,
    db: Db,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why the busy times could not be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::tools) enum RemoteReadError {
    #[error(transparent)]
    Caldav(#[from] CaldavError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RemoteCalendar {
    pub(in crate::tools) fn new(calendar: &CompiledCalendar, config: &Caldav, adapters: &Adapters) -> Self {
        Self {
            id: calendar.id,
            rules: calendar.settings.rules.clone(),
            client: CaldavClient::new(calendar.id, config, adapters),
            db: adapters.db.clone(),
            clock: Arc::clone(&adapters.clock),
        }
    }

    /// The busy times within a range, without those of the call `own_call`. Also removes events that nobody booked.
    pub(in crate::tools) async fn busy(
        &self,
        range: Interval,
        own_call: Option<&str>,
        context: &CallContext<'_>,
    ) -> Result<Vec<Interval>, RemoteReadError> {
        let (busy, orphans) = self.read_busy(range, own_call, context).await?;
        let cleanup = self.remove_orphans(&orphans, context);
        if tokio::time::timeout(CLEANUP_TIMEOUT, cleanup).await.is_err() {
            tracing::warn!(calendar.id = %self.id, "events that nobody booked could not be removed in time");
        }
        Ok(busy)
    }

    /// [`Self::busy`] without the removal, for use between the creation of an event and its confirmation.
    pub(super) async fn busy_without_cleanup(
        &self,
        range: Interval,
        own_call: &str,
        context: &CallContext<'_>,
    ) -> Result<Vec<Interval>, RemoteReadError> {
        Ok(self.read_busy(range, Some(own_call), context).await?.0)
    }

    /// The busy times, and the orphans: events whose turn or request ended before it could confirm them. Orphans are not busy,
    /// unless a person has moved them.
    ///
    /// Holds are read before the server, because a hold that has been confirmed by then is on the server.
    async fn read_busy(
        &self,
        range: Interval,
        own_call: Option<&str>,
        context: &CallContext<'_>,
    ) -> Result<(Vec<Interval>, Vec<ParsedResource>), RemoteReadError> {
        let (workspace, url, now) = (context.workspace, self.client.url(), self.clock.now());
        let read_holds =
            async |conn: Conn<'_>| bookings::list_holds(conn, workspace, self.id, url, range, now).await;
        let holds = self.db.read(workspace, read_holds).await?;
        let mut events = self.client.events(&self.rules, range, context.into()).await?;
        events.retain(|event| own_call.is_none_or(|own_call| event.uid != own_call));
        let is_orphan = |event: &ParsedResource| {
            holds.stale.iter().any(|(call, time)| *call == event.uid && event.busy == [*time])
        };
        let orphans = events.extract_if(.., |event| is_orphan(event)).collect();
        let active_holds =
            holds.busy.into_iter().filter(|(call, _)| own_call.is_none_or(|own_call| call != own_call));
        let on_server = events.into_iter().flat_map(|event| event.busy);
        Ok((on_server.chain(active_holds.map(|(_, time)| time)).collect(), orphans))
    }

    async fn remove_orphans(&self, orphans: &[ParsedResource], context: &CallContext<'_>) {
        for event in orphans.iter().take(MAX_ORPHANS_REMOVED) {
            let event_url = self.client.event_url(&event.uid);
            let removed = self.client.remove(&event_url, &event.uid, context.into()).await;
            if let Err(error) = removed {
                self.warn(&event.uid, &error, "an event that nobody booked could not be removed");
                continue;
            }
            tracing::info!(calendar.id = %self.id, call.id = event.uid, "an event that nobody booked was removed");
        }
    }

    pub(super) fn warn(&self, call: &str, error: &(dyn std::error::Error + 'static), what: &'static str) {
        tracing::warn!(calendar.id = %self.id, call.id = call, error = error, "{what}");
    }
}
