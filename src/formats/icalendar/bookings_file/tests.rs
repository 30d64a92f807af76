use icalendar::parser::{read_calendar, unfold};
use uuid::Uuid;

use super::*;
use crate::domain::calendar::samples::{between, rules};
use crate::domain::ids::{BookingId, CalendarId, ConversationId, WorkspaceId};

fn calendar() -> Calendar {
    Calendar {
        workspace: WorkspaceId(Uuid::nil()),
        id: CalendarId(Uuid::from_u128(1)),
        slug: "demos".to_owned(),
        rules: rules("Europe/Berlin", &["09:00-12:00"]),
        caldav: None,
        link: None,
        from_file: true,
        created_at: crate::domain::clock::Micros(0),
    }
}

fn booking(title: &str, notes: &str) -> Booking {
    Booking {
        workspace: WorkspaceId(Uuid::nil()),
        calendar: CalendarId(Uuid::from_u128(1)),
        id: BookingId(Uuid::from_u128(2)),
        call: "call_1".to_owned(),
        conversation: Some(ConversationId(Uuid::from_u128(3))),
        time: between("2026-11-30T09:00Z", "2026-11-30T09:30Z"),
        title: title.to_owned(),
        name: Some("Ada".to_owned()),
        email: None,
        notes: Some(notes.to_owned()),
        created_at: "2026-11-24T13:00:00Z".parse::<Timestamp>().unwrap().into(),
        cancelled_at: None,
        resource: None,
        held_by: None,
    }
}

/// The value of each property of the file's events, in order.
fn values(file: &str, name: &str) -> Vec<String> {
    let unfolded = unfold(file);
    let read = read_calendar(&unfolded).unwrap();
    let found = read.components.iter().filter_map(|event| event.find_prop(name));
    found.map(|property| property.val.to_string()).collect()
}

#[test]
fn a_booking_is_an_event_with_all_that_programs_ask_for() {
    let file = to_ics(&calendar(), &[booking("Demo", "none")]);

    assert!(file.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Rejoinder//Rejoinder//EN\r\n"));
    assert!(file.ends_with("END:VEVENT\r\nEND:VCALENDAR\r\n"));
    for line in [
        "UID:bkg_00000000000000000000000002",
        "DTSTAMP:20261124T130000Z",
        "CREATED:20261124T130000Z",
        "LAST-MODIFIED:20261124T130000Z",
        "DTSTART:20261130T090000Z",
        "DTEND:20261130T093000Z",
        "SEQUENCE:0",
        "STATUS:CONFIRMED",
        "TRANSP:OPAQUE",
        "SUMMARY:Demo",
        "REFRESH-INTERVAL;VALUE=DURATION:PT15M",
    ] {
        assert!(file.contains(&format!("\r\n{line}\r\n")), "{line} in {file}");
    }
}

#[test]
fn one_that_was_cancelled_says_so_and_is_newer() {
    let mut cancelled = booking("Demo", "none");
    cancelled.cancelled_at = Some("2026-11-25T08:00:00Z".parse::<Timestamp>().unwrap().into());

    let file = to_ics(&calendar(), &[cancelled]);

    for line in ["STATUS:CANCELLED", "SEQUENCE:1", "TRANSP:TRANSPARENT", "LAST-MODIFIED:20261125T080000Z"] {
        assert!(file.contains(&format!("\r\n{line}\r\n")), "{line} in {file}");
    }
    assert!(file.contains("\r\nDTSTAMP:20261125T080000Z\r\n"), "{file}");
}

#[test]
fn no_text_makes_a_line_of_its_own_or_one_that_is_too_long() {
    let injected = "A\r\nEND:VEVENT\nBEGIN:VEVENT\rX\u{85}Y\u{2028}Z\u{b}\u{0};,\\ \"quoted\"";
    let long = "ä€😀 word, ".repeat(180);

    let file = to_ics(&calendar(), &[booking(injected, &long), booking(&"x".repeat(300), "")]);

    assert_eq!(file.matches("BEGIN:VEVENT").count(), 3, "two events, and one that is text: {file}");
    assert_eq!(file.matches("\r\nBEGIN:VEVENT\r\n").count(), 2);
    assert!(!file.replace("\r\n", "").contains(['\r', '\n', '\u{85}', '\u{2028}', '\u{b}', '\0']));
    assert!(file.split("\r\n").all(|line| line.len() <= 75), "75 octets a line");
    assert_eq!(
        values(&file, "SUMMARY"),
        ["A\nEND:VEVENT\nBEGIN:VEVENT\nX\nY\nZ;,\\ \"quoted\"".to_owned(), "x".repeat(300)]
    );
    assert!(values(&file, "DESCRIPTION")[0].contains(&long));
}

#[test]
fn the_same_bookings_are_the_same_bytes() {
    let bookings = [booking("Demo", "none"), booking("Another", "x")];

    assert_eq!(to_ics(&calendar(), &bookings), to_ics(&calendar(), &bookings));
}
