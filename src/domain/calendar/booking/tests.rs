use super::*;
use crate::domain::calendar::rules::CalendarRulesIn;
use crate::domain::calendar::samples::{at, between, request, rules, rules_in};

/// A Tuesday, 14:00 in Berlin.
const NOW: &str = "2026-11-24T13:00Z";

fn office() -> CalendarRules {
    let mut source = rules_in("Europe/Berlin", &["09:00-12:00", "13:00-17:00"]);
    source.hours.sun.clear();
    source.holidays.push("2026-12-25".to_owned());
    source.minimum_notice_minutes = 120;
    source.buffer_minutes = 10;
    source.try_into().unwrap()
}

fn refusal(rules: &CalendarRules, datetime: &str, busy: &[Interval]) -> Refusal {
    decide_booking(rules, &request(datetime), busy, at(NOW)).unwrap_err()
}

#[test]
fn a_free_slot_is_booked_for_each_notation_of_its_start() {
    for datetime in
        ["2026-11-30 10:00", "2026-11-30T10:00:00", "2026-11-30T09:00:00Z", "2026-11-30T10:00+01:00"]
    {
        let slot = decide_booking(&office(), &request(datetime), &[], at(NOW));
        assert_eq!(slot, Ok(between("2026-11-30T09:00Z", "2026-11-30T09:30Z")), "{datetime}");
    }
}

#[test]
fn each_refusal_states_its_reason() {
    let booked = [between("2026-11-30T09:00Z", "2026-11-30T09:30Z")];
    for (datetime, error) in [
        (
            "tomorrow",
            "\"tomorrow\" is not a date and time; write it as 2026-11-30T10:00, or as a slot was listed",
        ),
        ("2026-11-24T10:00", "2026-11-24 10:00 is in the past: it is 2026-11-24 14:00 now in Europe/Berlin"),
        (
            "2026-11-24T15:30",
            "2026-11-24 15:30 is too soon: appointments need 120 minutes' notice, so 2026-11-24 16:00 is the \
             earliest",
        ),
        (
            "2027-01-25T10:00",
            "2027-01-25 10:00 is too far ahead: appointments can be booked up to 2027-01-23",
        ),
        ("2026-12-25T10:00", "2026-12-25 is a holiday, without appointments"),
        ("2026-11-29T10:00", "there are no appointments on Sundays"),
        ("2026-11-30T12:00", "2026-11-30 12:00 is outside the hours of that day: 09:00-12:00, 13:00-17:00"),
        (
            "2026-11-30T10:10",
            "2026-11-30 10:10 is not the start of an appointment; the nearest start at 2026-11-30 10:00 and \
             2026-11-30 10:30",
        ),
        (
            "2026-11-30T16:45",
            "2026-11-30 16:45 is not the start of an appointment; the nearest start at 2026-11-30 16:30",
        ),
        ("2026-11-30T10:00", "2026-11-30 10:00 is already taken"),
        (
            "2026-11-30T10:30",
            "2026-11-30 10:30 is too close to another appointment: 10 minutes are kept free around each",
        ),
    ] {
        let refusal = refusal(&office(), datetime, &booked);
        assert_eq!(refusal.error, error);
        assert_eq!(refusal.available_slots.len(), 10, "{datetime}");
    }
}

#[test]
fn the_earliest_time_in_the_refusal_respects_the_minimum_notice() {
    let now = at("2026-11-24T13:00:30Z");
    let refusal = decide_booking(&office(), &request("2026-11-24T16:00"), &[], now).unwrap_err();

    assert!(refusal.error.ends_with("so 2026-11-24 16:01 is the earliest"), "{refusal}");
    assert_eq!(refusal.available_slots.first().map(String::as_str), Some("2026-11-24 16:30"));
}

#[test]
fn alternatives_are_the_slots_nearest_to_the_requested_one_in_order() {
    let rules = rules("Europe/Berlin", &["09:00-17:00"]);
    let booked = [between("2026-11-30T13:00Z", "2026-11-30T13:30Z")];

    let slots = refusal(&rules, "2026-11-30T14:00", &booked).available_slots;

    assert_eq!(slots.first().map(String::as_str), Some("2026-11-30 11:30"));
    assert_eq!(slots.last().map(String::as_str), Some("2026-11-30 16:30"));
}

#[test]
fn no_day_before_the_requested_one_is_offered() {
    let rules = rules("Europe/Berlin", &["09:00-10:00"]);
    let full = [between("2026-11-29T23:00Z", "2026-11-30T23:00Z")];

    let slots = refusal(&rules, "2026-11-30T09:00", &full).available_slots;

    assert_eq!(slots.first().map(String::as_str), Some("2026-12-01 09:00"));
}

#[test]
fn a_refusal_without_alternatives_states_the_searched_range() {
    let rules = rules("Europe/Berlin", &["09:00-10:00"]);
    let full = [between("2026-11-01T00:00Z", "2027-12-01T00:00Z")];

    let refusal = refusal(&rules, "2026-11-30T09:00", &full);

    assert_eq!(
        refusal.error,
        "2026-11-30 09:00 is already taken; nothing is free from 2026-11-30 to 2026-12-30"
    );
    assert!(refusal.available_slots.is_empty());
}

#[test]
fn a_time_in_the_repeated_hour_is_booked_by_its_offset_and_never_guessed() {
    let rules = rules("Europe/Berlin", &["01:00-05:00"]);
    let decide = |datetime: &str| decide_booking(&rules, &request(datetime), &[], at("2026-10-20T00:00Z"));

    assert_eq!(decide("2026-10-25 02:00+02:00"), Ok(between("2026-10-25T00:00Z", "2026-10-25T00:30Z")));
    assert_eq!(decide("2026-10-25 02:00+01:00"), Ok(between("2026-10-25T01:00Z", "2026-10-25T01:30Z")));
    let refusal = decide("2026-10-25 02:00").unwrap_err();
    assert!(refusal.error.contains("comes twice"), "{refusal}");
    assert!(refusal.available_slots.iter().all(|slot| slot.starts_with("2026-10-25")), "{refusal:?}");
}

#[test]
fn a_time_that_the_clocks_skip_is_refused_with_slots_of_that_day() {
    let rules = rules("Europe/Berlin", &["01:00-05:00"]);
    let refusal =
        decide_booking(&rules, &request("2026-03-29T02:30"), &[], at("2026-03-20T00:00Z")).unwrap_err();

    assert!(refusal.error.contains("does not exist"), "{refusal}");
    assert_eq!(refusal.available_slots.first().map(String::as_str), Some("2026-03-29 01:00"));
}

#[test]
fn the_bookings_to_read_cover_the_slot_and_its_alternatives() {
    let rules: CalendarRules =
        CalendarRulesIn { buffer_minutes: 15, ..rules_in("Europe/Berlin", &["00:00-24:00"]) }
            .try_into()
            .unwrap();
    let range = |datetime: &str| booking_range(&rules, &request(datetime), at(NOW));

    assert_eq!(range("2026-11-30T00:00"), between("2026-11-29T22:45Z", "2026-12-31T23:15Z"));
    assert_eq!(range("2027-01-23T12:00"), between("2027-01-22T22:45Z", "2027-01-24T23:15Z"), "the last day");
    assert_eq!(range("gibberish"), between("2026-11-23T22:45Z", "2026-12-25T23:15Z"));
    assert_eq!(range("9999-12-01T23:59Z"), between("2027-01-16T22:45Z", "2027-01-24T23:15Z"));
    assert_eq!(range("-009999-01-02T00:00Z"), range("gibberish"), "the past");
}

#[test]
fn the_range_still_suffices_when_midnight_passes_before_the_decision() {
    let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
    let (before, after) = (at("2026-11-24T22:59:59Z"), at("2026-11-24T23:00:01Z"));
    // This day becomes bookable at midnight.
    let requested = request("2027-01-24T09:00");
    let taken = between("2027-01-24T08:00Z", "2027-01-24T08:30Z");
    assert!(decide_booking(&berlin, &requested, &[], before).is_err());
    assert!(decide_booking(&berlin, &requested, &[], after).is_ok());

    let range = booking_range(&berlin, &requested, before);

    assert!(taken.start < range.end && range.start < taken.end, "{range:?}");
}
