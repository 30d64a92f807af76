//! The zones that a text names or defines.

use super::*;

fn zone(name: &str, lines: &str) -> String {
    format!("BEGIN:VTIMEZONE\nTZID:{name}\n{lines}\nEND:VTIMEZONE")
}

fn observance(kind: &str, from: &str, to: &str, lines: &str) -> String {
    format!("BEGIN:{kind}\nTZOFFSETFROM:{from}\nTZOFFSETTO:{to}\n{lines}\nEND:{kind}\n")
}

/// The rules of New York as Outlook writes them.
fn outlook() -> String {
    let standard = "DTSTART:16010101T020000\nRRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11";
    let daylight = "DTSTART:16010101T020000\nRRULE:FREQ=YEARLY;BYDAY=2SU;BYMONTH=3";
    observance("STANDARD", "-0400", "-0500", standard) + &observance("DAYLIGHT", "-0500", "-0400", daylight)
}

/// The busy times of a text that must be understood whole.
fn exact(text: &str) -> Vec<String> {
    let read = read(&calendar(text)).unwrap();
    assert_eq!(read.warnings, Vec::<&str>::new(), "{text}");
    sorted_starts(read.busy)
}

/// `VTIMEZONE`s, and when it is ten o'clock there on 4 and on 10 March.
fn definitions() -> Vec<(String, &'static str, &'static str)> {
    let once = observance("STANDARD", "+0100", "+0300", "DTSTART:20260309T000000");
    let dates = observance("STANDARD", "+0000", "+0000", "DTSTART:20200101T000000")
        + &observance(
            "DAYLIGHT",
            "+0000",
            "+0200",
            "DTSTART:20250301T000000\nRDATE:20260301T000000,20260310T000000",
        )
        + &observance("STANDARD", "+0200", "+0000", "DTSTART:20260305T000000\nRDATE:20261001T000000");
    let rules_over_the_years = observance(
        "DAYLIGHT",
        "-0500",
        "-0400",
        "DTSTART:19870405T020000\nRRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU;UNTIL=20060402T070000Z",
    ) + &observance(
        "DAYLIGHT",
        "-0500",
        "-0400",
        "DTSTART:20070311T020000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU",
    ) + &observance(
        "STANDARD",
        "-0400",
        "-0500",
        "DTSTART:20071104T020000\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU",
    );
    // The starts are not dates of their rules.
    let unsynchronized = observance(
        "DAYLIGHT",
        "-0500",
        "-0400",
        "DTSTART:20260101T000000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU",
    ) + &observance(
        "STANDARD",
        "-0400",
        "-0500",
        "DTSTART:20260101T000000\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU",
    );
    let seconds = observance("STANDARD", "+001500", "+001500", "DTSTART:19700101T000000");
    let day_rule =
        "DTSTART:19700329T020000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=8,9,10,11,12,13,14;BYDAY=SU";
    let day_rule = observance("DAYLIGHT", "-0500", "-0400", day_rule);
    vec![
        (outlook(), "2026-03-04T15:00:00Z", "2026-03-10T14:00:00Z"),
        (rules_over_the_years, "2026-03-04T15:00:00Z", "2026-03-10T14:00:00Z"),
        (unsynchronized, "2026-03-04T15:00:00Z", "2026-03-10T14:00:00Z"),
        (day_rule, "2026-03-04T14:00:00Z", "2026-03-10T14:00:00Z"),
        (once, "2026-03-04T09:00:00Z", "2026-03-10T07:00:00Z"),
        (dates, "2026-03-04T08:00:00Z", "2026-03-10T08:00:00Z"),
        (seconds, "2026-03-04T09:45:00Z", "2026-03-10T09:45:00Z"),
        (
            "BEGIN:STANDARD\nTZOFFSETTO:-0500\nEND:STANDARD".to_owned(),
            "2026-03-04T15:00:00Z",
            "2026-03-10T15:00:00Z",
        ),
        ("X-LIC-LOCATION:America/New_York".to_owned(), "2026-03-04T15:00:00Z", "2026-03-10T14:00:00Z"),
    ]
}

#[test]
fn zones_that_the_text_defines_are_used() {
    for (lines, march_4, march_10) in definitions() {
        for (name, parameter) in [
            ("Customized Time Zone", "\"Customized Time Zone\""),
            ("\"Ours\\, theirs\"", "\"ours, theirs\""),
            ("tzone://Microsoft/Custom", "tzone://Microsoft/Custom"),
            ("GMT+0700", "GMT+0700"),
            ("Eastern Standard Time", "Eastern Standard Time"),
            ("EST", "EST"),
        ] {
            let daily = format!(
                "DTSTART;TZID={parameter}:20260304T100000\nDTEND;TZID={parameter}:20260304T110000\n\
                 RRULE:FREQ=DAILY;COUNT=7\nEXDATE;TZID={parameter}:20260305T100000,20260306T100000\n\
                 EXDATE;TZID={parameter}:20260307T100000,20260308T100000"
            );
            let moved = format!(
                "RECURRENCE-ID;TZID={parameter}:20260309T100000\nDTSTART:20260401T080000Z\nDTEND:20260401T090000Z"
            );
            let text = [zone(name, &lines), event(&daily), event(&moved)].join("\n");
            assert_eq!(exact(&text), [march_4, march_10, "2026-04-01T08:00:00Z"], "{text}");
        }
    }
}

#[test]
fn an_area_and_location_of_the_iana_database_has_priority_over_the_text() {
    let wrong = observance("STANDARD", "+0500", "+0500", "DTSTART:19700101T000000");
    for name in ["Europe/Berlin", "europe/berlin", "/freeassociation.sourceforge.net/Europe/Berlin"] {
        let lines = format!("DTSTART;TZID={name}:20260310T100000\nDURATION:PT1H");
        let text = [zone(name, &wrong), event(&lines)].join("\n");
        assert_eq!(exact(&text), ["2026-03-10T09:00:00Z"], "{name}");
    }
}

#[test]
fn times_without_a_zone_are_in_that_of_their_calendar() {
    let lines = "DTSTART:20260310T100000\nDURATION:PT1H";
    let text = format!("X-WR-TIMEZONE:America/New_York\n{}", event(lines));
    assert_eq!(exact(&text), ["2026-03-10T14:00:00Z"]);
    let day = format!("X-WR-TIMEZONE:America/New_York\n{}", event("DTSTART;TZID=X;VALUE=DATE:20260310"));
    assert_eq!(exact(&day), ["2026-03-09T23:00:00Z"], "a day has no zone");
}

#[test]
fn in_an_unknown_zone_all_hours_that_may_be_meant_are_busy() {
    let unknown = between("2026-03-09T20:00Z", "2026-03-10T23:00Z");
    let endless = observance("STANDARD", "+0200", "+0100", "DTSTART:19700101T000000\nRRULE:FREQ=SECONDLY");
    let too_many = observance("STANDARD", "+0200", "+0100", "DTSTART:19700101T000000\nRRULE:FREQ=DAILY");
    let no_rule = observance("STANDARD", "+0200", "+0100", "DTSTART:19700101T000000\nRRULE:FREQ=SOMETIMES");
    let no_offset = observance("STANDARD", "+0200", "0100", "DTSTART:19700101T000000");
    let contradiction =
        [("+0100"), ("+0500")].map(|offset| zone("Ours", &observance("STANDARD", offset, offset, "")));
    let lines = "DTSTART;TZID=Ours:20260310T100000\nDTEND;TZID=Ours:20260310T110000";
    for definition in [
        String::new(),
        zone("Ours", ""),
        zone("Ours", &endless),
        zone("Ours", &too_many),
        zone("Ours", &no_rule),
        zone("Ours", &no_offset),
        zone("Ours", "BEGIN:DAYLIGHT\nTZOFFSETTO;X=\":+0100\nEND:DAYLIGHT"),
        contradiction.join("\n"),
    ] {
        let read = read(&calendar(&format!("{definition}\n{}", event(lines)))).unwrap();
        assert_eq!((read.busy, read.warnings.len()), (vec![unknown], 2), "{definition}");
    }
    for (lines, start, end) in [
        // The offset of standard time is in the name.
        (
            "DTSTART;TZID=\"(UTC+01:00) West Central Africa\":20260310T100000\nDURATION:PT1H",
            "2026-03-10T08:00Z",
            "2026-03-10T11:00Z",
        ),
        (
            "DTSTART;TZID=(UTC) Home, sweet home:20260310T100000\nDURATION:PT1H",
            "2026-03-10T09:00Z",
            "2026-03-10T12:00Z",
        ),
        ("DTSTART;TZID=X:20260310T100000\nDTEND:20260310T110000Z", "2026-03-09T20:00Z", "2026-03-11T13:00Z"),
        ("DTSTART:20260310T100000Z\nDTEND;TZID=X:20260310T110000", "2026-03-10T10:00Z", "2026-03-10T23:00Z"),
        ("DTSTART;TZID=X:20260310T100000\nDURATION:-P1D", "2026-03-09T20:00Z", "2026-05-01T00:00Z"),
    ] {
        let read = read(&calendar(&event(lines))).unwrap();
        assert_eq!(read.busy, vec![between(start, end)], "{lines}");
    }
    assert_eq!(read(&calendar(&event("DTSTART;TZID=X:20260310T100000"))).unwrap().busy, vec![], "no length");
}

#[test]
fn nothing_is_excepted_by_a_time_in_another_unknown_zone() {
    let busy = |lines: &str| {
        let daily = "DTSTART;TZID=X:20260310T100000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3";
        read(&calendar(&event(&format!("{daily}\n{lines}")))).unwrap().busy.len()
    };
    assert_eq!(busy("EXDATE;TZID=X:20260311T100000"), 2);
    assert_eq!(busy("EXDATE;TZID=Y:20260311T100000"), 3);
    assert_eq!(busy("EXDATE:20260311T100000Z"), 3);
    let until = "DTSTART;TZID=X:20260310T100000\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL=20260312T010000Z";
    assert_eq!(read(&calendar(&event(until))).unwrap().busy.len(), 3, "at +14:00 the third is still meant");
}

#[test]
fn zones_of_thousands_of_events_are_read_in_time() {
    let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
    let window = between("2026-03-01T00:00Z", "2026-05-01T00:00Z");
    let mut reader = EventReader::new(&berlin, window, &[], &|| false);
    let lines = "DTSTART;TZID=Ours:20260310T100000\nDURATION:PT1H";
    let text = calendar(&[zone("Ours", &outlook()), event(lines)].join("\n"));
    let began = Instant::now();
    for _ in 0..2_000 {
        assert_eq!(reader.read(&text).unwrap().busy.len(), 1);
    }
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn display_names_are_understood_if_their_places_agree() {
    for (name, start) in [
        ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "2026-03-10T09:00:00Z"),
        ("(GMT+01.00) Amsterdam / Berlin / Bern / Rome / Stockholm / Vienna", "2026-03-10T09:00:00Z"),
        ("(UTC-05:00) Eastern Time (US & Canada)", "2026-03-10T14:00:00Z"),
        ("(UTC+00:00) Dublin, Edinburgh, Lisbon, London", "2026-03-10T10:00:00Z"),
        ("(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi", "2026-03-10T04:30:00Z"),
    ] {
        let lines = format!("DTSTART;TZID=\"{name}\":20260310T100000\nDURATION:PT1H");
        assert_eq!(exact(&event(&lines)), [start], "{name}");
    }
    for (name, start, end) in [
        // La Paz in Bolivia has another offset, as has Chihuahua today.
        ("(UTC-07:00) Chihuahua, La Paz, Mazatlan", "2026-03-10T16:00Z", "2026-03-10T19:00Z"),
        ("(UTC+04:00) Moscow", "2026-03-10T05:00Z", "2026-03-10T08:00Z"),
        ("(UTC+25:00) Berlin", "2026-03-09T20:00Z", "2026-03-10T23:00Z"),
    ] {
        let lines = format!("DTSTART;TZID=\"{name}\":20260310T100000\nDURATION:PT1H");
        assert_eq!(read(&calendar(&event(&lines))).unwrap().busy, vec![between(start, end)], "{name}");
    }
}

#[test]
fn many_zones_take_no_long_time() {
    let names = |count: usize| (0..count).map(|n| format!("Zone {n}/a/b")).collect::<Vec<_>>();
    let definitions = names(10_000)
        .iter()
        .map(|name| zone(name, "X-LIC-LOCATION:Nowhere") + "\n")
        .collect::<Vec<_>>()
        .concat();
    let dates = names(10_000)
        .iter()
        .map(|name| format!("EXDATE;TZID={name}:20260310T100000\n"))
        .collect::<Vec<_>>()
        .concat();
    let lines = format!("DTSTART:20260310T100000Z\nDURATION:PT1H\n{dates}");
    let began = Instant::now();
    let read = read(&calendar(&format!("{definitions}{}", event(&lines)))).unwrap();
    assert_eq!(read.busy.len(), 1);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
