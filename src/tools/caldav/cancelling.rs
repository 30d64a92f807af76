//! Cancels what the same conversation has booked: the event is removed as it now is, wherever a person has
//! moved it in time; one that is gone already has been cancelled there.

use async_trait::async_trait;
use serde_json::Value;

use super::remote::Remote;
use super::removal::{NotRemoved, remove};
use super::{failed, refused};
use crate::domain::batch::StoreWrite;
use crate::domain::calendar::{Caldav, CancelRequest, Refusal};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{BookingId, CalendarId};
use crate::store::{Conn, Db, calendars};
use crate::tools::{Adapters, Call, CallContext, Outcome, Tool};

const NOT_REMOVED: &str = "The appointment was not cancelled: the calendar cannot be written at the moment.";

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
            Ok(()) => {}
            Err(fault @ NotRemoved::Elsewhere) => return refused(&Refusal::new(fault.to_string())),
            Err(NotRemoved::NotWritten(fault)) => {
                self.warn(&call.id, fault.as_ref());
                return failed(NOT_REMOVED);
            }
        }
        Outcome::Write(StoreWrite::Cancel { calendar, request, is_removed: true })
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
