//! Bookings of tool calls and of requests of the API. A booking in one of our own calendars is made at once; one on a CalDAV server is held first, and
//! confirmed or released when the server has answered.

use serde_json::Value;

use super::Batch;
use crate::domain::calendar::{
    Booker, Booking, BookingCounts, BookingRequest, BookingWrite, CalendarRules, CancelRequest, Hold,
    Interval, Refusal, booked_result, cancelled_result, check_booking_counts, decide_booking,
};
use crate::domain::ids::{BookingId, CalendarId};

impl Batch<'_> {
    /// Decides a write and returns the result that a tool call has.
    pub(in crate::writer) fn write_booking(&mut self, booker: &Booker, write: &BookingWrite) -> Value {
        let result = match write {
            BookingWrite::Book { calendar, rules, request, id, call } => {
                self.book(booker, *calendar, rules, request, *id, call)
            }
            BookingWrite::Cancel { calendar, request, is_removed } => {
                self.cancel(booker, *calendar, request, *is_removed)
            }
            BookingWrite::Hold(hold) => self.hold(booker, hold),
            BookingWrite::Confirm { calendar, id, rules } => self.confirm(booker, *calendar, *id, rules),
            BookingWrite::Release { calendar, id } => self.release(booker, *calendar, *id),
        };
        result.unwrap_or_else(|refusal| refusal.to_result())
    }

    fn book(
        &mut self,
        booker: &Booker,
        calendar: CalendarId,
        rules: &CalendarRules,
        request: &BookingRequest,
        id: BookingId,
        call: &str,
    ) -> Result<Value, Refusal> {
        let bookings = self.tables.bookings.entry(calendar).or_default();
        if let Some(existing) = bookings.iter().find(|booking| booking.call == call) {
            return Ok(booked_result(&existing.id.to_string(), existing.time, rules));
        }
        let live = bookings.iter().filter(|booking| booking.cancelled_at.is_none());
        let busy: Vec<Interval> = live.map(|booking| booking.time).collect();
        self.check_counts(booker, calendar, rules)?;
        let time = decide_booking(rules, request, &busy, self.context.clock.now().timestamp())?;
        self.add(booker, calendar, id, call, time, request, None);
        Ok(booked_result(&id.to_string(), time, rules))
    }

    /// Holds a slot that is free on the server and not held by another call. Of confirmed bookings on this server only the
    /// server's own busy times count, because an event may have been moved there; those on another server count as stored.
    fn hold(&mut self, booker: &Booker, hold: &Hold) -> Result<Value, Refusal> {
        let bookings = self.tables.bookings.entry(hold.calendar).or_default();
        if let Some(existing) = bookings.iter().find(|booking| booking.call == hold.call) {
            if existing.cancelled_at.is_some() {
                return Err(Refusal::hold_released());
            }
            let result = booked_result(&existing.id.to_string(), existing.time, &hold.rules);
            return Ok(if existing.held_by.is_some() { mark_held(result) } else { result });
        }
        let is_ours = |booking: &&Booking| {
            let is_on_server = booking.resource.as_ref().is_some_and(|at| at.starts_with(&hold.url));
            !is_on_server || booking.held_by.is_some()
        };
        let live = bookings.iter().filter(|booking| booking.cancelled_at.is_none());
        let ours = live.filter(is_ours).map(|booking| booking.time);
        let busy: Vec<Interval> = ours.chain(hold.busy.iter().copied()).collect();
        self.check_counts(booker, hold.calendar, &hold.rules)?;
        let now = self.context.clock.now().timestamp();
        let time = decide_booking(&hold.rules, &hold.request, &busy, now)?;
        let resource = Some(hold.resource.clone());
        self.add(booker, hold.calendar, hold.id, &hold.call, time, &hold.request, resource);
        Ok(mark_held(booked_result(&hold.id.to_string(), time, &hold.rules)))
    }

    /// Refuses a booking beyond the bounds of its calendar.
    fn check_counts(
        &self,
        booker: &Booker,
        calendar: CalendarId,
        rules: &CalendarRules,
    ) -> Result<(), Refusal> {
        let made = &self.tables.conversation_bookings;
        let conversation = booker.conversation.and_then(|conversation| made.get(&(calendar, conversation)));
        let counts = BookingCounts {
            conversation: conversation.copied().unwrap_or_default(),
            day: self.tables.daily_bookings.get(&calendar).copied().unwrap_or_default(),
        };
        check_booking_counts(rules, counts)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a row")]
    fn add(
        &mut self,
        booker: &Booker,
        calendar: CalendarId,
        id: BookingId,
        call: &str,
        time: Interval,
        request: &BookingRequest,
        resource: Option<String>,
    ) {
        let booking = Booking {
            workspace: booker.workspace,
            calendar,
            id,
            call: call.to_owned(),
            conversation: booker.conversation,
            time,
            title: request.title.clone(),
            name: request.name.clone(),
            email: request.email.clone(),
            notes: request.notes.clone(),
            created_at: self.context.clock.now(),
            cancelled_at: None,
            held_by: resource.as_ref().map(|_| booker.holder(id)),
            resource,
        };
        if let Some(conversation) = booker.conversation {
            *self.tables.conversation_bookings.entry((calendar, conversation)).or_default() += 1;
        }
        *self.tables.daily_bookings.entry(calendar).or_default() += 1;
        self.tables.bookings.entry(calendar).or_default().push(booking.clone());
        self.changes.bookings.push(booking);
    }

    fn confirm(
        &mut self,
        booker: &Booker,
        calendar: CalendarId,
        id: BookingId,
        rules: &CalendarRules,
    ) -> Result<Value, Refusal> {
        let now = self.context.clock.now();
        let booking = self.booking_mut(booker, calendar, id)?;
        if booking.cancelled_at.is_some() || booking.is_overdue(now) {
            return Err(Refusal::hold_released());
        }
        if booking.held_by.take().is_some() {
            let confirmed = booking.clone();
            let result = booked_result(&id.to_string(), confirmed.time, rules);
            match self.changes.bookings.iter_mut().find(|existing| existing.id == id) {
                Some(existing) => existing.held_by = None,
                None => self.changes.confirmed_bookings.push(confirmed),
            }
            return Ok(result);
        }
        Ok(booked_result(&id.to_string(), booking.time, rules))
    }

    /// Cancels a hold. It stays a hold, so that an event that a late request still creates on the server is recognised.
    fn release(&mut self, booker: &Booker, calendar: CalendarId, id: BookingId) -> Result<Value, Refusal> {
        let now = self.context.clock.now();
        let booking = self.booking_mut(booker, calendar, id)?;
        if booking.held_by.is_some() && booking.cancelled_at.is_none() {
            booking.cancelled_at = Some(now);
            let released = booking.clone();
            self.write_cancelled(released);
        }
        Ok(cancelled_result())
    }

    fn booking_mut(
        &mut self,
        booker: &Booker,
        calendar: CalendarId,
        id: BookingId,
    ) -> Result<&mut Booking, Refusal> {
        let bookings = self.tables.bookings.entry(calendar).or_default();
        let mut bookings = bookings.iter_mut();
        let found = bookings.find(|booking| booking.id == id && booking.conversation == booker.conversation);
        found.ok_or_else(|| Refusal::unknown_booking(&id.to_string()))
    }

    fn cancel(
        &mut self,
        booker: &Booker,
        calendar: CalendarId,
        request: &CancelRequest,
        is_removed: bool,
    ) -> Result<Value, Refusal> {
        let unknown = || Refusal::unknown_booking(&request.booking_id);
        let id: BookingId = request.booking_id.parse().map_err(|_| unknown())?;
        let now = self.context.clock.now();
        let booking = self.booking_mut(booker, calendar, id).map_err(|_| unknown())?;
        if booking.held_by.is_some() {
            return Err(unknown());
        }
        // A call that is repeated after a crash has the same result.
        if booking.cancelled_at.is_none() {
            if booking.resource.is_some() && !is_removed {
                return Err(Refusal::calendar_mismatch());
            }
            booking.cancelled_at = Some(now);
            let cancelled = booking.clone();
            self.write_cancelled(cancelled);
        }
        Ok(cancelled_result())
    }

    fn write_cancelled(&mut self, cancelled: Booking) {
        match self.changes.bookings.iter_mut().find(|existing| existing.id == cancelled.id) {
            Some(existing) => existing.cancelled_at = cancelled.cancelled_at,
            None => self.changes.cancelled_bookings.push(cancelled),
        }
    }
}

/// Marks the result of a hold, which is not a booking yet, for the call that made it.
fn mark_held(mut result: Value) -> Value {
    if let Some(fields) = result.as_object_mut() {
        fields.insert("held".to_owned(), Value::Bool(true));
    }
    result
}
