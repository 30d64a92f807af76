//! Books a time, step by step: it is held in our own store, so that no two calls of ours want the same; put on
//! the server; and looked at again there, for another program may have come first. Only then is it confirmed,
//! in the transaction that journals the call's result.
//!
//! A call that is repeated after a crash finds its hold, and at its event's address its own event. What is left
//! of a call that is never repeated is a dead hold: it keeps nobody from the time, and its event is removed by
//! the next call that reads the calendar (`served`).

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::fault::Fault;
use super::remote::Put;
use super::served::Served;
use super::{NOT_READ, failed, overtaken, refused};
use crate::domain::batch::{Booking as Row, Hold, StoreWrite};
use crate::domain::calendar::{
    BookingRequest, Caldav, CalendarRules, EventReader, NewEvent, Refusal, booking_range, decide_booking,
    is_taken, write_event,
};
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Clock;
use crate::domain::ids::{BookingId, CalendarId, Ids};
use crate::domain::tool_loop::CallResult;
use crate::store::{Conn, calendars};
use crate::tools::{Adapters, Call, CallContext, Outcome, Tool};

const NOT_WRITTEN: &str = "The appointment was not booked: the calendar cannot be written at the moment.";

pub(in crate::tools) struct Booking {
    spec: ToolSpec,
    calendar: Served,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
}

impl Booking {
    pub(in crate::tools) fn new(
        spec: ToolSpec,
        calendar: CalendarId,
        rules: &CalendarRules,
        at: &Caldav,
        adapters: &Adapters,
    ) -> Self {
        let calendar = Served::new(calendar, rules, at, adapters);
        Self { spec, calendar, clock: Arc::clone(&adapters.clock), ids: Arc::clone(&adapters.ids) }
    }

    async fn book(&self, call: &Call, request: BookingRequest, context: &CallContext<'_>) -> Outcome {
        let (rules, now) = (&self.calendar.rules, self.clock.now().timestamp());
        let range = booking_range(rules, &request, now);
        let busy = match self.calendar.busy(range, Some(&call.id), context).await {
            Ok(busy) => busy,
            Err(fault) => {
                self.calendar.warn(&call.id, &fault, "a calendar could not be read");
                return failed(NOT_READ);
            }
        };
        let hold = StoreWrite::Hold(Box::new(Hold {
            calendar: self.calendar.id,
            rules: rules.clone(),
            request: request.clone(),
            id: BookingId(self.ids.ordered(self.clock.as_ref())),
            call: call.id.clone(),
            resource: self.calendar.remote.address(&call.id),
            busy,
        }));
        let Some(decided) = context.writes.write(hold).await else { return overtaken() };
        if decided.get("error").is_some() {
            return Outcome::Result(CallResult::new(decided));
        }
        let Some(row) = self.row(&call.id, context).await else { return failed(NOT_READ) };
        if row.held_by.is_none() {
            return Outcome::Result(CallResult::new(decided));
        }
        match self.put(&row, &request, context).await {
            Ok(true) => {}
            Ok(false) => return self.withdraw(&row, refused(&Refusal::withdrawn()), context).await,
            Err(fault) => {
                self.calendar.warn(&call.id, &fault, "an appointment could not be put on its calendar");
                return self.withdraw(&row, failed(NOT_WRITTEN), context).await;
            }
        }
        self.look_again(row, &request, now, context).await
    }

    async fn row(&self, call: &str, context: &CallContext<'_>) -> Option<Row> {
        let (workspace, calendar) = (context.workspace, self.calendar.id);
        let read = async |conn: Conn<'_>| calendars::of_call(conn, workspace, calendar, call).await;
        match self.calendar.db.reading(read).await {
            Ok(row) => row,
            Err(error) => {
                self.calendar.warn(call, &error, "a hold could not be read");
                None
            }
        }
    }

    /// Puts the event on the server. False where something else is at its address: what a person made of it.
    async fn put(
        &self,
        row: &Row,
        request: &BookingRequest,
        context: &CallContext<'_>,
    ) -> Result<bool, Fault> {
        let remote = &self.calendar.remote;
        let address = remote.address(&row.call);
        let made_at = row.created_at.timestamp();
        let text = write_event(&NewEvent { uid: &row.call, time: row.time, request, made_at });
        if remote.put(&address, text, context.allow_hosts).await? == Put::Made {
            return Ok(true);
        }
        // An earlier try of this call has put it there, unless it was changed since.
        let Some(found) = remote.get(&address, context.allow_hosts).await? else { return Ok(false) };
        let read = EventReader::new(&self.calendar.rules, row.time, &|| false).read(&found.text);
        Ok(read.is_ok_and(|read| read.uid == row.call && read.busy == [row.time]))
    }

    /// Another program may have taken the time since it was looked at.
    async fn look_again(
        &self,
        row: Row,
        request: &BookingRequest,
        now: Timestamp,
        context: &CallContext<'_>,
    ) -> Outcome {
        let rules = &self.calendar.rules;
        let range = booking_range(rules, request, now);
        match self.calendar.busy(range, Some(&row.call), context).await {
            Ok(busy) if is_taken(rules, row.time, &busy) => {
                let refusal = decide_booking(rules, request, &busy, now).err();
                let refusal = refusal.unwrap_or_else(Refusal::withdrawn);
                self.withdraw(&row, refused(&refusal), context).await
            }
            Ok(_) => Outcome::Write(StoreWrite::Confirm {
                calendar: self.calendar.id,
                id: row.id,
                rules: Box::new(rules.clone()),
            }),
            Err(fault) => {
                self.calendar.warn(&row.call, &fault, "a calendar could not be read again");
                self.withdraw(&row, failed(NOT_WRITTEN), context).await
            }
        }
    }

    /// Gives the hold up, and removes what was put on the server. First the hold: who does not own the turn any
    /// more must not remove what another process is about to confirm.
    async fn withdraw(&self, row: &Row, result: Outcome, context: &CallContext<'_>) -> Outcome {
        let release = StoreWrite::Release { calendar: self.calendar.id, id: row.id };
        if context.writes.write(release).await.is_none() {
            return overtaken();
        }
        let remote = &self.calendar.remote;
        let address = remote.address(&row.call);
        if let Err(fault) = remote.remove(&address, &row.call, context.allow_hosts).await {
            self.calendar.warn(&row.call, &fault, "an event that was withdrawn could not be removed yet");
        }
        result
    }
}

#[async_trait]
impl Tool for Booking {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// A call finds what it has held and put there before.
    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> Outcome {
        match BookingRequest::parse(&Value::Object(call.arguments.clone())) {
            Ok(request) => self.book(call, request, context).await,
            Err(refusal) => refused(&refusal),
        }
    }
}
