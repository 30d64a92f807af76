//! A calendar: its rules, the slots that they make, and what may be booked.
//!
//! Pure: the rules, the busy times and the present come in as values. The store asks [`booking_range`]
//! which bookings it must read, reads them under the calendar's lock, and does what [`decide_booking`] says.

mod arguments;
mod availability;
mod booking;
mod booking_write;
mod datetime;
mod grid;
mod interval;
mod results;
mod rules;
mod schemas;
mod search;
mod settings;
mod types;
mod window;

pub use arguments::{AvailabilityRequest, BookingRequest, CancelRequest};
pub use availability::{Availability, MAX_DAYS, MAX_SLOTS, availability_range, find_availability};
pub use booking::{booking_range, decide_booking, has_conflict, with_buffer};
pub use booking_write::{Booking, BookingWrite, Hold};
pub use datetime::label;
pub use interval::Interval;
pub(crate) use interval::saturating_add;
pub use results::{Refusal, booked_result, cancelled_result, rfc3339};
pub use rules::{
    CalendarRules, CalendarRulesIn, DEFAULT_HORIZON_DAYS, DEFAULT_SLOT_MINUTES, HoursIn, MAX_SLOT_LENGTH,
    RulesError,
};
pub use schemas::{
    AVAILABILITY_DESCRIPTION, AVAILABILITY_NAME, BOOKING_DESCRIPTION, BOOKING_NAME, CANCEL_DESCRIPTION,
    CANCEL_NAME, availability_schema, booking_schema, cancel_schema,
};
pub use types::{BookingState, Calendar, DayOrTime};

pub use settings::{Caldav, CalendarSettings};

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod samples;
