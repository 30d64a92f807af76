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
use super::reading::is_event;
use super::remote::Put;
use super::served::Served;
use super::{NOT_READ, failed, overtaken, refused};
use crate::domain::batch::{Hold, StoreWrite};
use crate::domain::calendar::{
    BookingRequest, Caldav, CalendarRules, Interval, NewEvent, Refusal, booking_range, decide_booking,
    guarded, is_taken, write_event,
};
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Clock;
use crate::domain::ids::{BookingId, CalendarId, Ids};
use crate::domain::tool_loop::CallResult;
use crate::tools::{Adapters, Call, CallContext, NotWritten, Outcome, Tool};

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
            url: self.calendar.remote.url().to_owned(),
            resource: self.calendar.remote.address(&call.id),
            busy,
        }));
        // This is written by the turn's owner alone: nothing comes between it and the event's making.
        let decided = match context.writes.write(hold).await {
            Ok(decided) => decided,
            Err(NotWritten::Overtaken) => return overtaken(),
            // Should it be there all the same, it ends with its turn.
            Err(NotWritten::Store) => return failed(NOT_WRITTEN),
        };
        let taken = match HeldTime::read(&decided) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Outcome::Result(CallResult::new(decided)),
            Err(()) => return failed(NOT_WRITTEN),
        };
        match self.put(call, taken.time, &request, now, context).await {
            Ok(true) => {}
            Ok(false) => return self.withdraw(call, taken.id, refused(&Refusal::withdrawn()), context).await,
            Err(fault) => {
                self.calendar.warn(&call.id, &fault, "an appointment could not be put on its calendar");
                return self.withdraw(call, taken.id, failed(NOT_WRITTEN), context).await;
            }
        }
        self.look_again(call, taken, &request, now, context).await
    }

    /// Puts the event on the server. False where something else is at its address: what a person made of it.
    async fn put(
        &self,
        call: &Call,
        time: Interval,
        request: &BookingRequest,
        now: Timestamp,
        context: &CallContext<'_>,
    ) -> Result<bool, Fault> {
        let remote = &self.calendar.remote;
        let address = remote.address(&call.id);
        let text = write_event(&NewEvent { uid: &call.id, time, request, made_at: now });
        if remote.put(&address, text, context.allow_hosts).await? == Put::Made {
            return Ok(true);
        }
        // An earlier try of this call has put it there, unless it was changed since.
        let Some(found) = remote.get(&address, context.allow_hosts).await? else { return Ok(false) };
        is_event(found.text, &call.id, time, &self.calendar.rules).await
    }

    /// Another program may have taken the time since it was looked at.
    async fn look_again(
        &self,
        call: &Call,
        held: HeldTime,
        request: &BookingRequest,
        now: Timestamp,
        context: &CallContext<'_>,
    ) -> Outcome {
        let rules = &self.calendar.rules;
        // A call that was taken up on another day may have others in mind now than the one that it holds.
        let range = booking_range(rules, request, now).joined(guarded(rules, held.time));
        match self.calendar.busy_now(range, &call.id, context).await {
            Ok(busy) if is_taken(rules, held.time, &busy) => {
                let refusal = decide_booking(rules, request, &busy, now).err();
                let refusal = refusal.unwrap_or_else(Refusal::withdrawn);
                self.withdraw(call, held.id, refused(&refusal), context).await
            }
            Ok(_) => Outcome::Write(StoreWrite::Confirm {
                calendar: self.calendar.id,
                id: held.id,
                rules: Box::new(rules.clone()),
            }),
            Err(fault) => {
                self.calendar.warn(&call.id, &fault, "a calendar could not be read again");
                self.withdraw(call, held.id, failed(NOT_WRITTEN), context).await
            }
        }
    }

    /// Gives the hold up, and removes what was put on the server. First the hold: who does not own the turn any
    /// more must not remove what another process is about to confirm.
    async fn withdraw(
        &self,
        call: &Call,
        id: BookingId,
        result: Outcome,
        context: &CallContext<'_>,
    ) -> Outcome {
        match context.writes.write(StoreWrite::Release { calendar: self.calendar.id, id }).await {
            Ok(_) => {}
            Err(NotWritten::Overtaken) => return overtaken(),
            // It ends with its turn, and then its event is removed as one that nobody booked.
            Err(NotWritten::Store) => return result,
        }
        let remote = &self.calendar.remote;
        let address = remote.address(&call.id);
        if let Err(fault) = remote.remove(&address, &call.id, context.allow_hosts).await {
            self.calendar.warn(&call.id, &fault, "an event that was withdrawn could not be removed yet");
        }
        result
    }
}

/// What a call holds.
#[derive(Clone, Copy, Debug)]
struct HeldTime {
    id: BookingId,
    time: Interval,
}

impl HeldTime {
    /// Of what the writer decided; none where nothing is held: it was refused, or is booked by now.
    fn read(decided: &Value) -> Result<Option<Self>, ()> {
        if decided.get("held").is_none() {
            return Ok(None);
        }
        let text = |field: &str| decided.get(field).and_then(Value::as_str).ok_or(());
        let at = |field: &str| text(field)?.parse::<Timestamp>().map_err(|_| ());
        let id = text("booking_id")?.parse().map_err(|_| ())?;
        Ok(Some(Self { id, time: Interval { start: at("start")?, end: at("end")? } }))
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
