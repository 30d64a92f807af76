use super::*;
use crate::domain::calendar::rules::CalendarRulesIn;
use crate::domain::calendar::samples::{at, between, labels, rules, rules_in};

/// A Tuesday, 14:00 in Berlin.
const NOW: &str = "2026-11-24T13:00Z";

fn request(start: &str, end: &str) -> AvailabilityRequest {
    AvailabilityRequest { start_date: start.to_owned(), end_date: end.to_owned() }
}

fn free_slots(rules: &CalendarRules, start: &str, end: &str, busy: &[Interval]) -> Vec<String> {
    labels(&find_availability(rules, &request(start, end), busy, at(NOW)).unwrap().slots, rules)
}

#[test]
fn the_result_has_the_shape_of_the_contract() {
    let rules = rules("Europe/Berlin", &["14:00-15:00"]);
    let answer = find_availability(&rules, &request("2026-11-30", "2026-12-01"), &[], at(NOW)).unwrap();

    assert_eq!(
        answer.to_result(),
        json!({
            "available_slots":
                ["2026-11-30 14:00", "2026-11-30 14:30", "2026-12-01 14:00", "2026-12-01 14:30"],
            "time_zone": "Europe/Berlin",
        })
    );
}

#[test]
fn slots_that_overlap_a_booking_or_its_buffer_are_not_offered() {
    let booked = [between("2026-11-30T09:00Z", "2026-11-30T09:30Z")];
    let mut source = rules_in("Europe/Berlin", &["09:00-12:00"]);
    let without: CalendarRules = source.clone().try_into().unwrap();
    source.buffer_minutes = 15;
    let with: CalendarRules = source.try_into().unwrap();

    let free = free_slots(&without, "2026-11-30", "2026-11-30", &booked);
    assert_eq!(free.len(), 5);
    assert!(!free.contains(&"2026-11-30 10:00".to_owned()));
    assert_eq!(
        free_slots(&with, "2026-11-30", "2026-11-30", &booked),
        ["2026-11-30 09:00", "2026-11-30 11:00", "2026-11-30 11:30"]
    );
}

#[test]
fn slots_of_today_start_after_the_minimum_notice() {
    let mut source = rules_in("Europe/Berlin", &["13:00-16:00"]);
    let at_once: CalendarRules = source.clone().try_into().unwrap();
    source.minimum_notice_minutes = 61;
    let with_notice: CalendarRules = source.try_into().unwrap();

    assert_eq!(free_slots(&at_once, "2026-11-01", "2026-11-24", &[])[0], "2026-11-24 14:00");
    assert_eq!(free_slots(&with_notice, "2026-11-24", "2026-11-24", &[]), ["2026-11-24 15:30"]);
}

#[test]
fn the_last_day_of_the_horizon_is_included_and_later_days_are_not() {
    let rules: CalendarRules =
        CalendarRulesIn { horizon_days: 2, slot_minutes: 60, ..rules_in("Europe/Berlin", &["09:00-10:00"]) }
            .try_into()
            .unwrap();
    let answer = find_availability(&rules, &request("2026-11-24", "2026-12-24"), &[], at(NOW)).unwrap();

    assert_eq!(labels(&answer.slots, &rules), ["2026-11-25 09:00", "2026-11-26 09:00"]);
    assert!(!answer.truncated, "days beyond the horizon do not count as omitted");
}

#[test]
fn a_long_answer_is_marked_as_truncated() {
    let many = rules("UTC", &["00:00-24:00"]);
    let answer = find_availability(&many, &request("2026-11-25", "2026-12-01"), &[], at(NOW)).unwrap();
    assert_eq!((answer.slots.len(), answer.truncated), (MAX_SLOTS, true));
    assert_eq!(answer.to_result()["truncated"], true);

    let few = rules("UTC", &["09:00-09:30"]);
    let days = |end| find_availability(&few, &request("2026-11-25", end), &[], at(NOW)).unwrap();
    assert_eq!((days("2026-12-25").slots.len(), days("2026-12-25").truncated), (31, false));
    assert_eq!((days("2026-12-26").slots.len(), days("2026-12-26").truncated), (31, true));
}

#[test]
fn a_request_without_a_bookable_day_gets_a_reason_and_alternatives() {
    let rules = rules("Europe/Berlin", &["09:00-10:00"]);
    for (start, end, error, first) in [
        (
            "2026-11-30",
            "2026-11-29",
            "end_date 2026-11-29 is before start_date 2026-11-30",
            "2026-11-30 09:00",
        ),
        ("2026-11-01", "2026-11-23", "2026-11-23 is in the past: today is 2026-11-24", "2026-11-25 09:00"),
        ("2027-06-01", "2027-06-02", "appointments can be booked up to 2027-01-23", "2027-01-19 09:00"),
        ("9999-12-31", "9999-12-31", "appointments can be booked up to 2027-01-23", "2027-01-19 09:00"),
        ("next week", "2026-12-01", "start_date \"next week\" is not a date", "2026-11-25 09:00"),
        ("2026-12-01", "soon", "end_date \"soon\" is not a date", "2026-12-01 09:00"),
    ] {
        let refusal = find_availability(&rules, &request(start, end), &[], at(NOW)).unwrap_err();
        assert!(refusal.error.starts_with(error), "{refusal}");
        assert_eq!(refusal.available_slots.first().map(String::as_str), Some(first), "{start} {end}");
        assert_eq!(refusal.available_slots.len(), 10);
    }
}

#[test]
fn the_range_to_read_covers_the_requested_days_and_their_buffers() {
    let rules: CalendarRules =
        CalendarRulesIn { buffer_minutes: 15, ..rules_in("Europe/Berlin", &["00:00-24:00"]) }
            .try_into()
            .unwrap();

    assert_eq!(
        availability_range(&rules, &request("2026-11-30", "2026-12-01"), at(NOW)),
        between("2026-11-29T22:45Z", "2026-12-01T23:15Z")
    );
    let refused = availability_range(&rules, &request("2026-11-01", "2026-11-02"), at(NOW));
    assert_eq!(refused, between("2026-11-23T22:45Z", "2026-12-24T23:15Z"));
}
