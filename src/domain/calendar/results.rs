//! The results of the calendar tools, as the model and `function_calls` see them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::datetime::label;
use super::interval::Interval;
use super::rules::CalendarRules;
use super::search::{Days, SlotSearch};

/// A refused request with its reason and alternatives. It is a normal result of a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// A sentence for the model and for people.
    pub error: String,
    /// Labels of free slots near the requested time, in order.
    pub available_slots: Vec<String>,
}

impl Refusal {
    /// A refusal without alternatives.
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), available_slots: Vec::new() }
    }

    /// No active booking of this conversation has the id.
    pub fn unknown_booking(booking_id: &str) -> Self {
        Self::new(format!("no appointment {booking_id} was booked in this conversation"))
    }

    /// The booking is on a server that the calendar no longer uses.
    pub fn calendar_mismatch() -> Self {
        Self::new("the appointment is on another calendar than this one; it has to be cancelled there")
    }

    /// The hold of the call was released.
    pub fn hold_released() -> Self {
        Self::new("the appointment was withdrawn; look for free times again")
    }

    pub(super) fn with_alternatives(
        error: String,
        search: &SlotSearch<'_>,
        days: Days,
        target: Timestamp,
    ) -> Self {
        let free = search.alternatives(days, target);
        if free.is_empty() {
            return Self::new(format!("{error}; nothing is free from {} to {}", days.first, days.last));
        }
        let available_slots = free.iter().map(|slot| label(slot.start, &search.rules.zone)).collect();
        Self { error, available_slots }
    }

    /// The tool's result: `{error, available_slots?}`.
    pub fn to_result(&self) -> Value {
        let mut result = json!({ "error": self.error });
        if !self.available_slots.is_empty()
            && let Some(fields) = result.as_object_mut()
        {
            fields.insert("available_slots".to_owned(), json!(self.available_slots));
        }
        result
    }
}

/// `{success, booking_id, start, end}`; times are local to the calendar's zone and include the offset.
pub fn booked_result(booking_id: &str, slot: Interval, rules: &CalendarRules) -> Value {
    json!({
        "success": true,
        "booking_id": booking_id,
        "start": rfc3339(slot.start, &rules.zone),
        "end": rfc3339(slot.end, &rules.zone),
    })
}

/// `{success}`.
pub fn cancelled_result() -> Value {
    json!({ "success": true })
}

/// Local time with its offset: `2026-11-30T10:00:00+01:00`.
pub fn rfc3339(at: Timestamp, zone: &TimeZone) -> String {
    at.display_with_offset(zone.to_offset(at)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::samples::{at, rules};

    #[test]
    fn a_booking_has_local_times_with_their_offset() {
        let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
        let slot = Interval { start: at("2026-11-30T09:00Z"), end: at("2026-11-30T09:30Z") };

        assert_eq!(
            booked_result("bkg_1", slot, &berlin),
            json!({
                "success": true,
                "booking_id": "bkg_1",
                "start": "2026-11-30T10:00:00+01:00",
                "end": "2026-11-30T10:30:00+01:00",
            })
        );
        let utc = rules("UTC", &["09:00-12:00"]);
        assert_eq!(booked_result("bkg_1", slot, &utc)["start"], "2026-11-30T09:00:00+00:00");
    }

    #[test]
    fn a_refusal_omits_an_empty_list_of_alternatives() {
        assert_eq!(
            Refusal::unknown_booking("bkg_9").to_result(),
            json!({ "error": "no appointment bkg_9 was booked in this conversation" })
        );
        let refusal =
            Refusal { error: "no".to_owned(), available_slots: vec!["2026-11-30 10:00".to_owned()] };
        assert_eq!(refusal.to_result(), json!({ "error": "no", "available_slots": ["2026-11-30 10:00"] }));
    }
}
