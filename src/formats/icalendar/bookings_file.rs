//! Bookings as an iCalendar file (RFC 5545), for any calendar program to read.
//!
//! Times are in UTC, which every program reads without a time zone's definition and shows in its own.
//! The output depends on the bookings alone, not on the time of the request: `DTSTAMP` is the last change.

use icalendar::{Component as _, Event, Property};
use jiff::Timestamp;

use super::strip_control_chars;
use crate::domain::calendar::{Booking, Calendar};

/// How many days back a file reaches.
pub const PAST_DAYS: u32 = 90;

/// The refresh interval suggested to calendar programs.
const REFRESH: &str = "PT15M";

/// Writes the file. It includes cancelled bookings, so that a program that imported them removes them.
pub fn to_ics(calendar: &Calendar, bookings: &[Booking]) -> String {
    let mut file = icalendar::Calendar::empty();
    let zone = calendar.rules.time_zone();
    for (name, value) in [
        ("VERSION", "2.0"),
        ("PRODID", "-//Rejoinder//Rejoinder//EN"),
        ("CALSCALE", "GREGORIAN"),
        ("X-WR-CALNAME", &calendar.slug),
        ("X-WR-TIMEZONE", zone),
        ("X-PUBLISHED-TTL", REFRESH),
    ] {
        file.append_property(Property::new(name, value));
    }
    let mut refresh = Property::new("REFRESH-INTERVAL", REFRESH);
    refresh.add_parameter("VALUE", "DURATION");
    file.append_property(refresh);
    for booking in bookings {
        file.push(event(booking));
    }
    file.to_string()
}

/// Without attendees, because calendar programs send invitations to them.
fn event(booking: &Booking) -> Event {
    let changed = booking.cancelled_at.unwrap_or(booking.created_at);
    // A booking changes once, when it is cancelled.
    let (sequence, status, transparency) = match booking.cancelled_at {
        None => ("0", "CONFIRMED", "OPAQUE"),
        Some(_) => ("1", "CANCELLED", "TRANSPARENT"),
    };
    let mut event = Event::with_uid(&booking.id.to_string());
    event.summary(&strip_control_chars(&booking.title)).description(&description(booking));
    for (name, value) in [
        ("DTSTAMP", stamp(changed.timestamp()).as_str()),
        ("CREATED", &stamp(booking.created_at.timestamp())),
        ("LAST-MODIFIED", &stamp(changed.timestamp())),
        ("DTSTART", &stamp(booking.time.start)),
        ("DTEND", &stamp(booking.time.end)),
        ("SEQUENCE", sequence),
        ("STATUS", status),
        ("TRANSP", transparency),
    ] {
        event.add_property(name, value);
    }
    event.done()
}

/// The booking's details, one per line.
fn description(booking: &Booking) -> String {
    let fields = [("Name", &booking.name), ("Email", &booking.email), ("Notes", &booking.notes)];
    let mut lines: Vec<String> = fields
        .into_iter()
        .filter_map(|(label, text)| {
            text.as_ref().map(|text| format!("{label}: {}", strip_control_chars(text)))
        })
        .collect();
    lines.push(format!("Booking: {}", booking.id));
    lines.extend(booking.conversation.map(|conversation| format!("Conversation: {conversation}")));
    lines.join("\n")
}

/// `20261130T090000Z`.
fn stamp(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests;
