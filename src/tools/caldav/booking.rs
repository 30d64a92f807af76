//! Books a time in steps: holds it in our own store, so that no other call of ours takes it; creates the event on the
//! server; and reads the server again, because another program may have booked first. The transaction that journals
//! the call's result confirms the booking.
//!
//! A call that is repeated after a crash finds its hold and its event. A call that is never repeated leaves a stale hold,
//! which does not block the time, and an event that the next call removes (`remote_calendar`).

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::client::PutOutcome;
use super::error::CaldavError;
use super::parsing::is_event;
use super::remote_calendar::RemoteCalendar;
use super::{READ_FAILED, failed, fenced_off, refused};
use crate::domain::calendar::{
    BookingRequest, BookingWrite, Caldav, Hold, Interval, Refusal, booking_range, decide_booking,
    has_conflict, with_buffer,
};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{BookingId, IdGenerator};
use crate::domain::tool::CompiledCalendar;
use crate::domain::tool_loop::CallResult;
use crate::formats::icalendar::{NewEvent, write_event};
use crate::tools::{Adapters, Call, CallContext, Tool, ToolOutcome, WriteError};

const WRITE_FAILED: &str = "The appointment was not booked: the calendar cannot be written at the moment.";

pub(in crate::tools) struct Booking {
    spec: ToolSpec,
    calendar: RemoteCalendar,
    ids: Arc<IdGenerator>,
}

impl Booking {
    pub(in crate::tools) fn new(
        spec: ToolSpec,
        calendar: &CompiledCalendar,
        config: &Caldav,
        adapters: &Adapters,
    ) -> Self {
        let calendar = RemoteCalendar::new(calendar, config, adapters);
        Self { spec, calendar, ids: Arc::clone(&adapters.ids) }
    }

    async fn book(&self, call: &Call, request: BookingRequest, context: &CallContext<'_>) -> ToolOutcome {
        let (rules, now) = (&self.calendar.rules, self.calendar.clock.now().timestamp());
        let range = booking_range(rules, &request, now);
        let busy = match self.calendar.busy(range, Some(&call.id), context).await {
            Ok(busy) => busy,
            Err(error) => {
                self.calendar.warn(&call.id, &error, "a calendar could not be read");
                return failed(READ_FAILED);
            }
        };
        let write = BookingWrite::Hold(Box::new(Hold {
            calendar: self.calendar.id,
            rules: rules.clone(),
            request: request.clone(),
            id: BookingId(self.ids.uuid_v7(self.calendar.clock.as_ref())),
            call: call.id.clone(),
            url: self.calendar.client.url().to_owned(),
            resource: self.calendar.client.event_url(&call.id),
            busy,
        }));
        // This is written by the turn's owner alone: nothing comes between it and the event's making.
        let decision = match context.writer.write(write).await {
            Ok(decision) => decision,
            Err(WriteError::FencedOff) => return fenced_off(),
            // Should it be there all the same, it ends with its turn.
            Err(WriteError::Store) => return failed(WRITE_FAILED),
        };
        let hold = match ActiveHold::read(&decision) {
            Ok(Some(hold)) => hold,
            Ok(None) => return ToolOutcome::Result(CallResult::new(decision)),
            Err(()) => return failed(WRITE_FAILED),
        };
        match self.put(call, hold.time, &request, now, context).await {
            Ok(true) => {}
            Ok(false) => {
                return self.withdraw(call, hold.id, refused(&Refusal::hold_released()), context).await;
            }
            Err(error) => {
                self.calendar.warn(&call.id, &error, "an appointment could not be put on its calendar");
                return self.withdraw(call, hold.id, failed(WRITE_FAILED), context).await;
            }
        }
        self.confirm_if_free(call, hold, &request, now, context).await
    }

    /// Puts the event on the server. False where something else is at its address: what a person made of it.
    async fn put(
        &self,
        call: &Call,
        time: Interval,
        request: &BookingRequest,
        now: Timestamp,
        context: &CallContext<'_>,
    ) -> Result<bool, CaldavError> {
        let client = &self.calendar.client;
        let event_url = client.event_url(&call.id);
        let text = write_event(&NewEvent { uid: &call.id, time, request, created_at: now });
        if client.put(&event_url, text, context.into()).await? == PutOutcome::Created {
            return Ok(true);
        }
        // An earlier try of this call has put it there, unless it was changed since.
        let Some(found) = client.get(&event_url, context.into()).await? else { return Ok(false) };
        let (uid, rules) = (call.id.clone(), self.calendar.rules.clone());
        let read = move || Ok(is_event(&found.text, &uid, time, &rules));
        client.readers.run(context.workspace, read).await
    }

    /// Another program may have taken the time since it was looked at.
    async fn confirm_if_free(
        &self,
        call: &Call,
        hold: ActiveHold,
        request: &BookingRequest,
        now: Timestamp,
        context: &CallContext<'_>,
    ) -> ToolOutcome {
        let rules = &self.calendar.rules;
        // A call that was taken up on another day may have others in mind now than the one that it holds.
        let range = booking_range(rules, request, now).merge(with_buffer(rules, hold.time));
        match self.calendar.busy_without_cleanup(range, &call.id, context).await {
            Ok(busy) if has_conflict(rules, hold.time, &busy) => {
                let refusal = decide_booking(rules, request, &busy, now).err();
                let refusal = refusal.unwrap_or_else(Refusal::hold_released);
                self.withdraw(call, hold.id, refused(&refusal), context).await
            }
            Ok(_) => ToolOutcome::Write(BookingWrite::Confirm {
                calendar: self.calendar.id,
                id: hold.id,
                rules: Box::new(rules.clone()),
            }),
            Err(error) => {
                self.calendar.warn(&call.id, &error, "a calendar could not be read again");
                self.withdraw(call, hold.id, failed(WRITE_FAILED), context).await
            }
        }
    }

    /// Gives the hold up, and removes what was put on the server. First the hold: who does not own the turn any
    /// more must not remove what another process is about to confirm.
    async fn withdraw(
        &self,
        call: &Call,
        id: BookingId,
        result: ToolOutcome,
        context: &CallContext<'_>,
    ) -> ToolOutcome {
        match context.writer.write(BookingWrite::Release { calendar: self.calendar.id, id }).await {
            Ok(_) => {}
            Err(WriteError::FencedOff) => return fenced_off(),
            // It ends with its turn, and then its event is removed as one that nobody booked.
            Err(WriteError::Store) => return result,
        }
        let client = &self.calendar.client;
        let event_url = client.event_url(&call.id);
        if let Err(error) = client.remove(&event_url, &call.id, context.into()).await {
            self.calendar.warn(&call.id, &error, "an event that was withdrawn could not be removed yet");
        }
        result
    }
}

/// What a call holds.
#[derive(Clone, Copy, Debug)]
struct ActiveHold {
    id: BookingId,
    time: Interval,
}

impl ActiveHold {
    /// Of what the writer decided; none where nothing is held: it was refused, or is booked by now.
    fn read(decision: &Value) -> Result<Option<Self>, ()> {
        if decision.get("held").is_none() {
            return Ok(None);
        }
        let text = |field: &str| decision.get(field).and_then(Value::as_str).ok_or(());
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

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome {
        match BookingRequest::parse(&call.arguments) {
            Ok(request) => self.book(call, request, context).await,
            Err(refusal) => refused(&refusal),
        }
    }
}
