//! Texts as servers have them, nasty ones too.

mod zones;

use std::cell::Cell;
use std::time::Instant;

use super::*;
use crate::domain::calendar::BookingRequest;
use crate::domain::calendar::samples::{at, between, rules};
use crate::formats::icalendar::{NewEvent, write_event};

fn calendar(lines: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}\r\nEND:VCALENDAR\r\n", lines.trim().replace('\n', "\r\n"))
}

fn event(lines: &str) -> String {
    format!("BEGIN:VEVENT\nUID:e\n{}\nEND:VEVENT", lines.trim())
}

/// From March to May 2026, in a calendar of Berlin.
fn read(text: &str) -> Result<ParsedResource, &'static str> {
    let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
    let window = between("2026-03-01T00:00Z", "2026-05-01T00:00Z");
    EventReader::new(&berlin, window, &[], &|| false).read(text)
}

/// The starts of an event's busy times, in order; nothing of it may be a fault.
fn starts(lines: &str) -> Vec<String> {
    let read = read(&calendar(&event(lines))).unwrap();
    assert_eq!(read.warnings, Vec::<&str>::new());
    sorted_starts(read.busy)
}

fn sorted_starts(mut busy: Vec<Interval>) -> Vec<String> {
    busy.sort_by_key(|busy| busy.start);
    busy.iter().map(|busy| busy.start.to_string()).collect()
}

fn only(lines: &str) -> Interval {
    let read = read(&calendar(&event(lines))).unwrap();
    assert_eq!(read.busy.len(), 1, "{lines}");
    read.busy[0]
}

#[test]
fn times_of_all_kinds_have_their_length() {
    for (lines, start, end) in [
        ("DTSTART:20260310T080000Z\nDTEND:20260310T090000Z", "2026-03-10T08:00Z", "2026-03-10T09:00Z"),
        ("DTSTART:20260310T080000Z\nDURATION:PT1H30M", "2026-03-10T08:00Z", "2026-03-10T09:30Z"),
        ("DTSTART:20260310T080000Z\nDURATION:+P1W", "2026-03-10T08:00Z", "2026-03-17T08:00Z"),
        ("DTSTART:20260310T080000\nDTEND:20260310T090000", "2026-03-10T07:00Z", "2026-03-10T08:00Z"),
        ("DTSTART;VALUE=DATE:20260310", "2026-03-09T23:00Z", "2026-03-10T23:00Z"),
        ("DTSTART;VALUE=DATE:20260310\nDTEND;VALUE=DATE:20260313", "2026-03-09T23:00Z", "2026-03-12T23:00Z"),
        ("DTSTART;VALUE=DATE:20260310\nDTEND;VALUE=DATE:20260310", "2026-03-09T23:00Z", "2026-03-10T23:00Z"),
        ("DTSTART;VALUE=DATE:20260329", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        (
            "DTSTART;TZID=America/New_York:20260310T100000\nDTEND;TZID=Europe/Berlin:20260310T160000",
            "2026-03-10T14:00Z",
            "2026-03-10T15:00Z",
        ),
        (
            "DTSTART;TZID=\"W. Europe Standard Time\":20260310T100000\nDURATION:PT1H",
            "2026-03-10T09:00Z",
            "2026-03-10T10:00Z",
        ),
        // The clocks skip it: as it is read on the clock before.
        ("DTSTART:20260329T023000\nDURATION:PT1H", "2026-03-29T01:30Z", "2026-03-29T02:30Z"),
    ] {
        assert_eq!(only(lines), between(start, end), "{lines}");
    }
}

#[test]
fn what_takes_no_time_or_lies_elsewhere_is_not_busy() {
    for lines in [
        "DTSTART:20260310T080000Z\nDTEND:20260310T090000Z\nTRANSP:TRANSPARENT",
        "DTSTART:20260310T080000Z\nDTEND:20260310T090000Z\nSTATUS:CANCELLED",
        "DTSTART:20250310T080000Z\nDTEND:20250310T090000Z",
        "DTSTART:20260501T000000Z\nDTEND:20260501T090000Z",
        "DTSTART:20260310T080000Z",
        "DTSTART:20260310T080000Z\nDTEND:20260310T080000Z",
        "DTSTART:20250101T080000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL=20250301T000000Z",
    ] {
        assert_eq!(starts(lines), Vec::<String>::new(), "{lines}");
    }
}

/// The starts of busy times for two users.
fn starts_for_users(lines: &str) -> Vec<String> {
    let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
    let window = between("2026-03-01T00:00Z", "2026-05-01T00:00Z");
    let users = ["me@shop.example".to_owned(), "/principals/me/".to_owned()];
    sorted_starts(EventReader::new(&berlin, window, &users, &|| false).read(&calendar(lines)).unwrap().busy)
}

#[test]
fn declined_invitations_are_free() {
    let me = |partstat: &str| format!("ATTENDEE;CN=Me;PARTSTAT={partstat}:mailto:me@shop.example");
    for (lines, is_free) in [
        (me("DECLINED"), true),
        ("attendee;partstat=declined:MAILTO:Me@Shop.Example".to_owned(), true),
        ("ATTENDEE;PARTSTAT=DECLINED;EMAIL=me@shop.example:urn:uuid:1".to_owned(), true),
        ("ATTENDEE;PARTSTAT=DECLINED:/principals/me/".to_owned(), true),
        (format!("ATTENDEE;PARTSTAT=ACCEPTED:mailto:you@shop.example\n{}", me("DECLINED")), true),
        (me("ACCEPTED"), false),
        (me("TENTATIVE"), false),
        (me("NEEDS-ACTION"), false),
        (me("DELEGATED"), false),
        ("ATTENDEE:mailto:me@shop.example".to_owned(), false),
        ("ATTENDEE;PARTSTAT=DECLINED:mailto:you@shop.example".to_owned(), false),
        ("ATTENDEE;CN=\"me;PARTSTAT=DECLINED:mailto:me@shop.example".to_owned(), false),
        (format!("{}\n{}", me("DECLINED"), me("ACCEPTED")), false),
        ("X-MICROSOFT-CDO-BUSYSTATUS:FREE".to_owned(), true),
        ("X-MICROSOFT-CDO-BUSYSTATUS:FREE\nTRANSP:OPAQUE".to_owned(), false),
        ("X-MICROSOFT-CDO-BUSYSTATUS:OOF".to_owned(), false),
        ("STATUS:TENTATIVE".to_owned(), false),
    ] {
        let found = starts_for_users(&event(&format!("DTSTART;VALUE=DATE:20260310\n{lines}")));
        assert_eq!(found.is_empty(), is_free, "{lines}");
    }
}

#[test]
fn single_instances_are_declined_or_accepted() {
    let daily = "DTSTART:20260310T080000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3";
    let instance = "RECURRENCE-ID:20260311T080000Z\nDTSTART:20260311T080000Z\nDURATION:PT1H";
    let me = |partstat: &str| format!("ATTENDEE;PARTSTAT={partstat}:mailto:me@shop.example");
    for (all, one, expected) in [
        ("ACCEPTED", "DECLINED", vec!["2026-03-10T08:00:00Z", "2026-03-12T08:00:00Z"]),
        ("DECLINED", "ACCEPTED", vec!["2026-03-11T08:00:00Z"]),
    ] {
        let master = event(&format!("{daily}\n{}", me(all)));
        let changed = event(&format!("{instance}\n{}", me(one)));
        assert_eq!(starts_for_users(&format!("{master}\n{changed}")), expected, "{all} {one}");
    }
}

#[test]
fn a_recurring_event_keeps_to_the_clock_across_its_changes() {
    let weekly = starts(
        "DTSTART;TZID=Europe/Berlin:20251104T100000\nDTEND;TZID=Europe/Berlin:20251104T110000\n\
         RRULE:FREQ=WEEKLY;BYDAY=TU\nEXDATE;TZID=Europe/Berlin:20260310T100000,20260317T100000",
    );
    assert_eq!(weekly[..2], ["2026-03-03T09:00:00Z", "2026-03-24T09:00:00Z"]);
    assert_eq!(weekly[2..4], ["2026-03-31T08:00:00Z", "2026-04-07T08:00:00Z"]);
    assert_eq!(weekly.len(), 7);
}

#[test]
fn rules_end_as_they_are_written_to() {
    let rule = |rule: &str| {
        starts(&format!("DTSTART;TZID=Europe/Berlin:20260301T100000\nDURATION:PT1H\nRRULE:{rule}")).len()
    };
    for (text, count) in [
        ("FREQ=DAILY;COUNT=5", 5),
        ("freq=daily;count=5;", 5),
        // Its last is at 10:00 in Berlin, which is 8:00 or 9:00 UTC.
        ("FREQ=DAILY;UNTIL=20260310T090000Z", 10),
        ("FREQ=DAILY;UNTIL=20260310T085959Z", 9),
        ("FREQ=DAILY;UNTIL=20260331T080000Z", 31),
        ("FREQ=DAILY;UNTIL=20260310T100000", 10),
        ("FREQ=DAILY;UNTIL=20260310", 10),
        ("FREQ=DAILY;UNTIL=20200101T000000Z", 1),
        ("FREQ=MONTHLY;BYDAY=-1FR", 3),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", 1),
        ("FREQ=DAILY;INTERVAL=0", 1),
    ] {
        assert_eq!(rule(text), count, "{text}");
    }
}

#[test]
fn days_recur_as_days() {
    let lines = "DTSTART;VALUE=DATE:20260327\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE;VALUE=DATE:20260328";
    assert_eq!(starts(lines), ["2026-03-26T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]);
}

#[test]
fn single_dates_count_too_with_a_length_of_their_own() {
    let lines = "DTSTART:20260301T080000Z\nDURATION:PT1H\nRDATE:20260302T080000Z,20260303T080000Z\n\
        RDATE;VALUE=PERIOD:20260304T080000Z/PT3H,20260305T080000Z/20260305T081500Z\nEXDATE:20260303T080000Z";
    let mut busy = read(&calendar(&event(lines))).unwrap().busy;
    busy.sort_by_key(|busy| busy.start);

    assert_eq!(busy.len(), 4);
    assert_eq!(busy[2], between("2026-03-04T08:00Z", "2026-03-04T11:00Z"));
    assert_eq!(busy[3], between("2026-03-05T08:00Z", "2026-03-05T08:15Z"));
}

#[test]
fn instances_are_moved_cancelled_and_made_transparent() {
    let master = event("DTSTART:20260301T080000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=5");
    let moved = event("RECURRENCE-ID:20260302T080000Z\nDTSTART:20260310T120000Z\nDURATION:PT2H");
    let cancelled =
        event("RECURRENCE-ID:20260303T080000Z\nDTSTART:20260303T080000Z\nDURATION:PT1H\nSTATUS:CANCELLED");
    let transparent = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20260304T090000\nDTSTART:20260304T080000Z\nTRANSP:TRANSPARENT",
    );
    let text = calendar(&[master, moved, cancelled, transparent].join("\n"));

    let expected = ["2026-03-01T08:00:00Z", "2026-03-05T08:00:00Z", "2026-03-10T12:00:00Z"];
    assert_eq!(sorted_starts(read(&text).unwrap().busy), expected);
}

#[test]
fn what_has_no_readable_start_is_an_error_unless_it_is_not_busy() {
    let good = event("DTSTART:20260310T080000Z\nDURATION:PT1H");
    for broken in [
        "DTSTART:yesterday",
        "DURATION:PT1H",
        "DTSTART:",
        "DTSTART:20260310T080000Z,20260311T080000Z",
        "DTSTART:20261399T080000Z",
    ] {
        assert!(read(&calendar(&format!("{good}\n{}", event(broken)))).is_err(), "{broken}");
        let free = event(&format!("{broken}\nTRANSP:TRANSPARENT"));
        let read = read(&calendar(&format!("{good}\n{free}"))).unwrap();
        assert_eq!((read.busy.len(), read.warnings.len()), (1, 1), "{broken}");
    }
    for text in [
        "",
        "}{",
        "BEGIN:VCALENDAR",
        "BEGIN:VEVENT\r\nEND:VEVENT\r\n",
        "BEGIN:VCALENDAR\r\nRRULE\r\nEND:VCALENDAR\r\n",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    let none = read("BEGIN:VCALENDAR\r\nno line\r\nEND:VCALENDAR\r\n").unwrap();
    assert_eq!((none.uid.as_str(), none.busy, none.warnings), ("", vec![], vec![]));
}

#[test]
fn a_length_or_a_rule_that_cannot_be_read_is_busy_from_its_start_on() {
    let from_then_on = between("2026-03-10T08:00Z", "2026-05-01T00:00Z");
    for lines in [
        "DTEND:20260310T070000Z",
        "DURATION:-PT1H",
        "DTEND:never",
        "DURATION:PT1H\nRDATE:never",
        "DURATION:PT1H\nRRULE:FREQ=SOMETIMES",
        "DURATION:PT1H\nRRULE:COUNT=3",
        "DURATION:PT1H\nRRULE:FREQ=DAILY;X",
        "DURATION:PT1H\nRRULE:FREQ=DAILY;BYDAY=XX",
        "DURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL=never",
        "DURATION:PT1H\nRRULE:FREQ=DAILY;BYSECOND=60",
        "DURATION:PT1H\nRRULE:RSCALE=CHINESE;FREQ=DAILY",
    ] {
        let read = read(&calendar(&event(&format!("DTSTART:20260310T080000Z\n{lines}")))).unwrap();
        assert_eq!((read.busy, read.warnings.len()), (vec![from_then_on], 1), "{lines}");
    }
}

#[test]
fn exceptions_that_cannot_be_read_except_nothing_and_leave_the_rest() {
    let daily =
        "DTSTART:20260310T080000Z\nDURATION:PT1H\nRRULE:RSCALE=GREGORIAN;FREQ=DAILY;SKIP=OMIT;COUNT=3";
    let excepted = format!("{daily}\nEXDATE:\nEXDATE:20260311T080000Z,");
    assert_eq!(starts(&excepted), ["2026-03-10T08:00:00Z", "2026-03-12T08:00:00Z"]);
    let read = read(&calendar(&event(&format!("{daily}\nEXDATE:never,20260311T080000Z")))).unwrap();
    assert_eq!((read.busy.len(), read.warnings.len()), (2, 1));
}

#[test]
fn what_would_never_end_counts_as_busy_throughout_and_takes_no_time() {
    let window = between("2026-03-01T00:00Z", "2026-05-01T00:00Z");
    let numbers = |last: u8| (0..=last).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let all_seconds = format!(
        "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR={};BYMINUTE={};BYSECOND={}",
        numbers(23),
        numbers(59),
        numbers(59)
    );
    let long = format!("FREQ=YEARLY;BYYEARDAY={}", "1,".repeat(500_000));
    let began = Instant::now();
    for rule in [
        "FREQ=SECONDLY",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYMONTH=1;BYHOUR=3;BYMINUTE=3;BYSECOND=3",
        "FREQ=HOURLY;COUNT=4000000000",
        &all_seconds,
        &long,
    ] {
        let lines = format!("DTSTART:20100101T080000Z\nDURATION:PT1S\nRRULE:{rule}");
        let read = read(&calendar(&event(&lines))).unwrap();
        assert_eq!((read.busy, read.warnings.len()), (vec![window], 1), "{rule:.80}");
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    let ended = "DTSTART:20100101T080000Z\nDURATION:PT1S\nRRULE:FREQ=SECONDLY;UNTIL=20100102T000000Z";
    assert_eq!(starts(ended), Vec::<String>::new(), "what has ended is over");
}

#[test]
fn once_the_time_is_up_nothing_more_is_read() {
    let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
    let window = between("2026-03-01T00:00Z", "2026-05-01T00:00Z");
    let calls = Cell::new(0);
    let is_timed_out = || {
        calls.set(calls.get() + 1);
        calls.get() > 3
    };
    let mut reader = EventReader::new(&berlin, window, &[], &is_timed_out);
    let weekly = calendar(&event("DTSTART:20260301T080000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY"));

    assert_eq!(reader.read(&weekly).unwrap().busy.len(), 9);
    assert!(reader.read(&weekly).unwrap_err().contains("takes too long"), "and nobody says that it is taken");
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = "BEGIN:VEVENT\r\n".repeat(100_000);
    assert_eq!(read(&format!("BEGIN:VCALENDAR\r\n{deep}")), Err("its components are nested too deep"));
}

#[test]
fn what_is_written_is_read_back_and_cannot_inject_lines() {
    let time = between("2026-03-10T08:00Z", "2026-03-10T09:00Z");
    let request = BookingRequest {
        start: String::new(),
        title: "A; b, c\\d\r\nATTENDEE:mailto:x@example.com\rEND:VEVENT \u{7}ü".repeat(4),
        name: Some("Ada".to_owned()),
        email: None,
        notes: Some("One\nTwo".to_owned()),
    };
    let new =
        NewEvent { uid: "call_trn_1_0_1", time, request: &request, created_at: at("2026-03-01T00:00Z") };

    let text = write_event(&new);

    assert!(
        text.split("\r\n").all(|line| line.len() <= 75 && !line.contains(['\r', '\n', '\u{7}'])),
        "{text}"
    );
    assert!(!text.contains("\r\nATTENDEE") && text.matches("\r\nEND:VEVENT").count() == 1, "{text}");
    assert!(text.contains("\r\nDESCRIPTION:Name: Ada\\nNotes: One\\nTwo\r\n"), "{text}");
    assert!(text.contains("\r\nDTSTAMP:20260301T000000Z\r\n"), "{text}");
    let read = read(&text).unwrap();
    assert_eq!((read.uid.as_str(), read.busy, read.warnings), ("call_trn_1_0_1", vec![time], vec![]));
    assert_eq!(first_uid(&text).as_deref(), Some("call_trn_1_0_1"));
}
