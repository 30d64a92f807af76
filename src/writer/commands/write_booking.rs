//! A write of a booking that a request of the API makes, without a turn.

use serde_json::Value;

use super::Decision;
use crate::domain::calendar::{Booker, Booking, BookingWrite, CalendarRules};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::idempotency::{IdempotencyKey, IdempotencyRequest};
use crate::domain::ids::{BookingId, CalendarId};
use crate::domain::render::{self, RenderedResponse};
use crate::writer::batch::{Batch, LoadPlan};

#[derive(Clone, Debug)]
pub struct WriteBooking {
    pub booker: Booker,
    pub write: BookingWrite,
    /// The response is stored for its key when the booking is made.
    pub idempotency: Option<IdempotencyRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteBookingOutcome {
    Booked(Box<Booking>, RenderedResponse),
    /// The result that a tool call would have: nothing is booked (yet).
    Decided(Value),
    /// The idempotency key has a stored response, which the caller reads.
    Replayed(IdempotencyKey),
}

impl Decision for WriteBooking {
    type Reply = WriteBookingOutcome;

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        plan.workspaces.insert(self.booker.workspace);
        if let Some(conversation) = self.booker.conversation {
            plan.add_conversation(self.booker.workspace, conversation);
        }
        plan.bookings.push(self.write.lookup(&self.booker, now));
        let keys = self.idempotency.iter().flat_map(|request| [request.key.clone(), request.key.erased()]);
        plan.idempotency.extend(keys);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<WriteBookingOutcome, Error> {
        let record = batch.idempotency_record(self.idempotency.as_ref())?;
        if let Some(record) = record.filter(|record| record.answer.is_answered()) {
            return Ok(WriteBookingOutcome::Replayed(record.key.clone()));
        }
        // A hold is released whatever has happened, so that its event is removed from the server.
        let is_release = matches!(self.write, BookingWrite::Release { .. });
        if let Some(conversation) = self.booker.conversation.filter(|_| !is_release) {
            batch.live_conversation(self.booker.workspace, conversation)?;
        }
        let result = batch.write_booking(&self.booker, &self.write);
        let Some((calendar, id, rules)) = self.confirmed().filter(|_| result.get("error").is_none()) else {
            return Ok(WriteBookingOutcome::Decided(result));
        };
        let bookings = batch.tables.bookings.get(&calendar);
        let booking = bookings.and_then(|bookings| bookings.iter().find(|booking| booking.id == id)).cloned();
        let booking = booking.ok_or_else(|| Error::internal("a booking that was just made is missing"))?;
        let answer = render::booking_created(&booking, rules);
        if self.idempotency.is_some() {
            let request = self.idempotency.as_ref();
            batch.put_idempotency_record(request, self.booker.conversation, None, Some(answer.clone()));
        }
        Ok(WriteBookingOutcome::Booked(Box::new(booking), answer))
    }
}

impl WriteBooking {
    /// The booking that exists when this write succeeds.
    fn confirmed(&self) -> Option<(CalendarId, BookingId, &CalendarRules)> {
        match &self.write {
            BookingWrite::Book { calendar, rules, id, .. }
            | BookingWrite::Confirm { calendar, id, rules } => Some((*calendar, *id, rules)),
            BookingWrite::Cancel { .. } | BookingWrite::Hold(_) | BookingWrite::Release { .. } => None,
        }
    }
}
