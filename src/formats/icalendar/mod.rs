//! iCalendar (RFC 5545): reads the events of a CalDAV server, writes bookings.

mod bookings_file;
mod events;
mod new_event;

pub use bookings_file::{PAST_DAYS, to_ics};
pub use events::{EventReader, ParsedResource, first_uid};
pub use new_event::{NewEvent, write_event};
