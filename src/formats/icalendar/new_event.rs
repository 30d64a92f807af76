//! An appointment as the iCalendar text that is put on a server.

use icalendar::{Calendar, Component as _, Event, Property};
use jiff::Timestamp;
use jiff::tz::Offset;

use super::strip_control_chars;
use crate::domain::calendar::{BookingRequest, Interval};

/// An appointment to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// The call's id.
    pub uid: &'a str,
    pub time: Interval,
    pub request: &'a BookingRequest,
    pub created_at: Timestamp,
}

/// Writes the text, with times in UTC, which every program understands. The description names the person, because
/// servers send invitations to attendees.
pub fn write_event(new: &NewEvent<'_>) -> String {
    let request = new.request;
    let mut event = Event::new();
    event.uid(new.uid).summary(&strip_control_chars(&request.title));
    for (name, at) in [("DTSTAMP", new.created_at), ("DTSTART", new.time.start), ("DTEND", new.time.end)] {
        event.add_property(name, Offset::UTC.to_datetime(at).strftime("%Y%m%dT%H%M%SZ").to_string());
    }
    let lines = [("Name", &request.name), ("E-mail", &request.email), ("Notes", &request.notes)];
    let lines = lines.into_iter().filter_map(|(what, text)| Some(format!("{what}: {}", text.as_deref()?)));
    let description = lines.collect::<Vec<_>>().join("\n");
    if !description.is_empty() {
        event.description(&strip_control_chars(&description));
    }
    let mut calendar = Calendar::empty();
    calendar.append_property(Property::new("VERSION", "2.0"));
    calendar.append_property(Property::new("PRODID", "-//Rejoinder//Rejoinder//EN"));
    calendar.push(event.done());
    calendar.to_string()
}
