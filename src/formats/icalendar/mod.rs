//! iCalendar (RFC 5545): reads the events of a CalDAV server, writes bookings.

mod bookings_file;
mod events;
mod new_event;

pub use bookings_file::{PAST_DAYS, to_ics};
pub use events::{EventReader, ParsedResource, first_uid, user_address};
pub use new_event::{NewEvent, write_event};

/// The text without control characters, which no line may have. Every kind of line break becomes `\n`, which the writer
/// escapes.
fn strip_control_chars(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}
