//! Calendars: rules, slots, availability and booking decisions.
//!
//! Pure: the rules, the busy times and the current time are parameters. The writer reads the bookings in
//! [`booking_range`] under the calendar's lock and applies the decision of [`decide_booking`].

mod arguments;
mod availability;
mod booking;
mod booking_write;
mod datetime;
mod grid;
mod interval;
mod results;
mod rules;
mod search;
mod settings;
mod specs;
mod types;
mod window;

pub use arguments::{AvailabilityRequest, BookingRequest, CancelRequest};
pub use availability::{
    Availability, MAX_DAYS, MAX_SLOTS, availability_range, find_availability, free_slots, free_slots_range,
};
pub use booking::{booking_range, check_booking_counts, decide_booking, has_conflict, with_buffer};
pub use booking_write::{Booker, Booking, BookingCounts, BookingLookup, BookingWrite, HOLD_OF_REQUEST, Hold};
pub use datetime::{label, parse_start};
pub use interval::Interval;
pub(crate) use interval::saturating_add;
pub use results::{Refusal, booked_result, cancelled_result, rfc3339};
pub use rules::{
    CalendarRules, CalendarRulesIn, CalendarRulesPatch, HoursIn, MAX_HOLIDAYS, MAX_SLOT_LENGTH, MAX_WINDOWS,
};
pub use specs::{availability_spec, booking_spec, cancel_spec};
pub use types::{BookingState, Calendar, CalendarSource, DayOrTime};

pub use settings::{Caldav, CaldavPatch, CalendarDefinition, CalendarSettings, MAX_URL, MAX_USERNAME};

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod samples;
