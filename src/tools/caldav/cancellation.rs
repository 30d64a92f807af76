//! Cancels what the same conversation has booked: the event is removed as it now is, wherever a person has
//! moved it in time; one that is gone already has been cancelled there.

use async_trait::async_trait;

use super::client::CaldavClient;
use super::removal::{RemoveError, remove};
use super::{failed, refused};
use crate::domain::calendar::{BookingWrite, Caldav, CancelRequest, Refusal};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{BookingId, CalendarId};
use crate::store::{Conn, Db, bookings};
use crate::tools::{Adapters, Call, CallContext, Tool, ToolOutcome};

const REMOVE_FAILED: &str =
    "The appointment was not cancelled: the calendar cannot be written at the moment.";

pub(in crate::tools) struct Cancellation {
    spec: ToolSpec,
    calendar: CalendarId,
    client: CaldavClient,
    db: Db,
}

impl Cancellation {
    pub(in crate::tools) fn new(
        spec: ToolSpec,
        calendar: CalendarId,
        config: &Caldav,
        adapters: &Adapters,
    ) -> Self {
        Self {
            spec,
            calendar,
            client: CaldavClient::new(calendar, config, adapters),
            db: adapters.db.clone(),
        }
    }

    async fn cancel(&self, call: &Call, request: CancelRequest, context: &CallContext<'_>) -> ToolOutcome {
        let unknown = || refused(&Refusal::unknown_booking(&request.booking_id));
        let Ok(id) = request.booking_id.parse::<BookingId>() else { return unknown() };
        let (workspace, calendar) = (context.workspace, self.calendar);
        let read = async |conn: Conn<'_>| bookings::find(conn, workspace, calendar, id).await;
        let row = match self.db.read(workspace, read).await {
            Ok(row) => row,
            Err(error) => {
                self.warn(&call.id, &error);
                return failed(REMOVE_FAILED);
            }
        };
        let own = row.filter(|row| row.conversation == Some(context.conversation) && row.held_by.is_none());
        let Some(row) = own else { return unknown() };
        match remove(&self.client, &row, context.into()).await {
            Ok(()) => {}
            Err(error @ RemoveError::OtherCalendar) => return refused(&Refusal::new(error.to_string())),
            Err(RemoveError::Caldav(error)) => {
                self.warn(&call.id, error.as_ref());
                return failed(REMOVE_FAILED);
            }
        }
        ToolOutcome::Write(BookingWrite::Cancel { calendar, request, is_removed: true })
    }

    fn warn(&self, call: &str, error: &(dyn std::error::Error + 'static)) {
        let what = "an appointment could not be removed from its calendar";
        tracing::warn!(calendar.id = %self.calendar, call.id = call, error = error, "{what}");
    }
}

#[async_trait]
impl Tool for Cancellation {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome {
        match CancelRequest::parse(&call.arguments) {
            Ok(request) => self.cancel(call, request, context).await,
            Err(refusal) => refused(&refusal),
        }
    }
}
