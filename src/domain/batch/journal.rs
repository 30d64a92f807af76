//! What a running turn writes on its way: the model's answers, its calls and
//! their results, and the calls that change our own store.

use serde_json::Value;

use super::{Batch, Booking, Journaling, Outcome, Step, StoreWrite, TurnRef};
use crate::domain::calendar::{
    BookingRequest, CalendarRules, CancelRequest, Interval, Refusal, booked_result, cancelled_result,
    decide_booking,
};
use crate::domain::ids::{BookingId, CalendarId};

impl Batch<'_> {
    /// Keeps rows of a turn's journal, if who asks still owns the turn.
    pub(super) fn journal(&mut self, journaling: &Journaling) -> Outcome {
        let turn = self.tables.turns.get(&journaling.turn.turn).cloned();
        let Some(turn) = turn.filter(|turn| self.owns(turn, journaling.fence)) else {
            let turn = self.tables.turns.get(&journaling.turn.turn).cloned().map(Box::new);
            return Outcome::Journaled { step: Step::Overtaken(turn), result: None };
        };
        self.written.journal.extend(journaling.rows.iter().cloned());
        let decided = journaling.write.as_ref().map(|write| self.write_store(&journaling.turn, write));
        if let Some(mut row) = journaling.result.clone() {
            if let Some(result) = &decided {
                row.result = Some(result.to_string());
            }
            self.written.results.push(row);
        }
        Outcome::Journaled { step: Step::Done(Box::new(turn)), result: decided }
    }

    fn write_store(&mut self, turn: &TurnRef, write: &StoreWrite) -> Value {
        let done = match write {
            StoreWrite::Book { calendar, rules, request, id, call } => {
                self.book(turn, *calendar, rules, request, *id, call)
            }
            StoreWrite::Cancel { calendar, request } => self.cancel(turn, *calendar, request),
        };
        done.unwrap_or_else(|refusal| refusal.to_result())
    }

    fn book(
        &mut self,
        turn: &TurnRef,
        calendar: CalendarId,
        rules: &CalendarRules,
        request: &BookingRequest,
        id: BookingId,
        call: &str,
    ) -> Result<Value, Refusal> {
        let bookings = self.tables.bookings.entry(calendar).or_default();
        if let Some(made) = bookings.iter().find(|booking| booking.call == call) {
            return Ok(booked_result(&made.id.to_string(), made.time, rules));
        }
        let busy: Vec<Interval> = bookings
            .iter()
            .filter(|booking| booking.cancelled_at.is_none())
            .map(|booking| booking.time)
            .collect();
        let time = decide_booking(rules, request, &busy, self.setting.clock.now().timestamp())?;
        let booking = Booking {
            workspace: turn.workspace,
            calendar,
            id,
            call: call.to_owned(),
            conversation: turn.conversation,
            time,
            title: request.title.clone(),
            name: request.name.clone(),
            email: request.email.clone(),
            notes: request.notes.clone(),
            created_at: self.setting.clock.now(),
            cancelled_at: None,
        };
        bookings.push(booking.clone());
        self.written.bookings.push(booking);
        Ok(booked_result(&id.to_string(), time, rules))
    }

    fn cancel(
        &mut self,
        turn: &TurnRef,
        calendar: CalendarId,
        request: &CancelRequest,
    ) -> Result<Value, Refusal> {
        let unknown = || Refusal::unknown_booking(&request.booking_id);
        let id: BookingId = request.booking_id.parse().map_err(|_| unknown())?;
        let bookings = self.tables.bookings.entry(calendar).or_default();
        let booking = bookings
            .iter_mut()
            .find(|booking| booking.id == id && booking.conversation == turn.conversation)
            .ok_or_else(unknown)?;
        // Cancelled already: a call that was repeated after a crash says what it said before.
        if booking.cancelled_at.is_none() {
            booking.cancelled_at = Some(self.setting.clock.now());
            match self.written.bookings.iter_mut().find(|made| made.id == id) {
                Some(made) => made.cancelled_at = booking.cancelled_at,
                None => self.written.cancelled_bookings.push(booking.clone()),
            }
        }
        Ok(cancelled_result())
    }
}
