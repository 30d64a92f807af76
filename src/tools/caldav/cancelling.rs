//! Cancels what the same conversation has booked: the event is removed as it now is, wherever a person has
//! moved it in time; one that is gone already has been cancelled there.

use async_trait::async_trait;
use serde_json::Value;

use super::remote::Remote;
use super::{Fault, failed, refused};
use crate::domain::batch::{Booking, StoreWrite};
use crate::domain::calendar::{Caldav, CancelRequest, Refusal};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{BookingId, CalendarId};
use crate::outbound::AllowHosts;
use crate::store::{Conn, Db, calendars};
use crate::tools::{Adapters, Call, CallContext, Outcome, Tool};

const NOT_REMOVED: &str = "The appointment was not cancelled: the calendar cannot be written at the moment.";

/// Why the event of a booking is still where it was.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    /// The calendar's address has changed since.
    #[error("the appointment is on another calendar than this one; it has to be cancelled there")]
    Elsewhere,
    /// The source is for the log.
    #[error("the calendar cannot be written at the moment")]
    Server(#[source] Fault),
}

/// Removes the event of a booking from the calendar's server, as it now is; none there is as good.
pub async fn remove_event(
    adapters: &Adapters,
    at: &Caldav,
    booking: &Booking,
    allow: &AllowHosts,
) -> Result<(), NotRemoved> {
    remove(&Remote::new(at, adapters), booking, allow).await
}

/// Nothing is to be removed of what was cancelled before, or booked while the calendar was kept here.
async fn remove(remote: &Remote, booking: &Booking, allow: &AllowHosts) -> Result<(), NotRemoved> {
    let Some(resource) = booking.resource.as_ref().filter(|_| booking.cancelled_at.is_none()) else {
        return Ok(());
    };
    let address = remote.address(&booking.call);
    if *resource != address {
        return Err(NotRemoved::Elsewhere);
    }
    remote.remove(&address, &booking.call, allow).await.map_err(NotRemoved::Server)
}

pub(in crate::tools) struct Cancelling {
    spec: ToolSpec,
    calendar: CalendarId,
    remote: Remote,
    db: Db,
}

impl Cancelling {
    pub(in crate::tools) fn new(
        spec: ToolSpec,
        calendar: CalendarId,
        at: &Caldav,
        adapters: &Adapters,
    ) -> Self {
        Self { spec, calendar, remote: Remote::new(at, adapters), db: adapters.db.clone() }
    }

    async fn cancel(&self, call: &Call, request: CancelRequest, context: &CallContext<'_>) -> Outcome {
        let unknown = || refused(&Refusal::unknown_booking(&request.booking_id));
        let Ok(id) = request.booking_id.parse::<BookingId>() else { return unknown() };
        let (workspace, calendar) = (context.workspace, self.calendar);
        let read = async |conn: Conn<'_>| calendars::find(conn, workspace, calendar, id).await;
        let row = match self.db.reading(read).await {
            Ok(row) => row,
            Err(error) => {
                self.warn(&call.id, &error);
                return failed(NOT_REMOVED);
            }
        };
        let own = row.filter(|row| row.conversation == context.conversation && row.held_by.is_none());
        let Some(row) = own else { return unknown() };
        match remove(&self.remote, &row, context.allow_hosts).await {
            Ok(()) => Outcome::Write(StoreWrite::Cancel { calendar, request }),
            Err(elsewhere @ NotRemoved::Elsewhere) => refused(&Refusal::new(elsewhere.to_string())),
            Err(NotRemoved::Server(fault)) => {
                self.warn(&call.id, &fault);
                failed(NOT_REMOVED)
            }
        }
    }

    fn warn(&self, call: &str, fault: &(dyn std::error::Error + 'static)) {
        let what = "an appointment could not be removed from its calendar";
        tracing::warn!(calendar.id = %self.calendar, call.id = call, error = fault, "{what}");
    }
}

#[async_trait]
impl Tool for Cancelling {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> Outcome {
        match CancelRequest::parse(&Value::Object(call.arguments.clone())) {
            Ok(request) => self.cancel(call, request, context).await,
            Err(refusal) => refused(&refusal),
        }
    }
}
