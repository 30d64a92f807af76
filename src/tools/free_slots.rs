//! The free slots of a calendar for the API, which are those that its tool finds.

use jiff::civil::Date;

use super::caldav::{RemoteCalendar, RemoteReadError};
use super::{Adapters, CallContext};
use crate::domain::calendar::{Availability, Interval, free_slots, free_slots_range};
use crate::domain::tool::CompiledCalendar;
use crate::store::{Conn, StoreError, bookings};

/// Why the free slots of a calendar are not known.
#[derive(Debug, thiserror::Error)]
pub enum FreeSlotsError {
    /// The CalDAV server of the calendar. The cause is for the log.
    #[error("the calendar cannot be read at the moment")]
    Caldav(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RemoteReadError> for FreeSlotsError {
    fn from(error: RemoteReadError) -> Self {
        match error {
            RemoteReadError::Caldav(error) => Self::Caldav(Box::new(error)),
            RemoteReadError::Store(error) => Self::Store(error),
        }
    }
}

/// The free slots of the days from the first to the last, both included.
pub async fn find_free_slots(
    calendar: &CompiledCalendar,
    days: (Date, Date),
    context: &CallContext<'_>,
    adapters: &Adapters,
) -> Result<Availability, FreeSlotsError> {
    let (rules, now) = (&calendar.settings.rules, adapters.clock.now());
    let busy = match (free_slots_range(rules, days, now.timestamp()), &calendar.settings.caldav) {
        (None, _) => Vec::new(),
        (Some(range), Some(config)) => {
            RemoteCalendar::new(calendar, config, adapters).busy(range, None, context).await?
        }
        (Some(range), None) => read_busy(calendar, range, context, adapters).await?,
    };
    Ok(free_slots(rules, days, &busy, now.timestamp()))
}

async fn read_busy(
    calendar: &CompiledCalendar,
    range: Interval,
    context: &CallContext<'_>,
    adapters: &Adapters,
) -> Result<Vec<Interval>, StoreError> {
    let (workspace, now) = (context.workspace, adapters.clock.now());
    let read = async |conn: Conn<'_>| bookings::busy(conn, workspace, calendar.id, range, now).await;
    adapters.db.read(workspace, read).await
}
