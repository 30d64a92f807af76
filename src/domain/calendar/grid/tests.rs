use super::*;
use crate::domain::calendar::rules::{CalendarRules, CalendarRulesIn};
use crate::domain::calendar::samples::{labels, rules, rules_in};

fn day(rules: &CalendarRules, date: &str) -> Vec<String> {
    labels(&slots_on(rules, date.parse().unwrap()), rules)
}

fn hourly(time_zone: &str, windows: &[&str]) -> CalendarRules {
    CalendarRulesIn { slot_minutes: 60, ..rules_in(time_zone, windows) }.try_into().unwrap()
}

#[test]
fn slots_fill_each_window_and_never_extend_past_its_end() {
    let rules = hourly("Europe/Berlin", &["09:00-11:30", "13:00-15:00"]);

    assert_eq!(
        day(&rules, "2026-11-30"),
        ["2026-11-30 09:00", "2026-11-30 10:00", "2026-11-30 13:00", "2026-11-30 14:00"]
    );
}

#[test]
fn holidays_and_days_without_hours_have_no_slots() {
    let mut source = rules_in("UTC", &["09:00-10:00"]);
    source.hours.sat.clear();
    source.holidays.push("2026-12-25".to_owned());
    let rules: CalendarRules = source.try_into().unwrap();

    assert_eq!(day(&rules, "2026-12-24").len(), 2);
    assert!(day(&rules, "2026-12-25").is_empty());
    assert!(day(&rules, "2026-12-26").is_empty(), "a Saturday");
}

#[test]
fn a_day_has_23_24_or_25_hourly_slots() {
    for (time_zone, date, hours) in [
        ("Europe/Berlin", "2026-03-28", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Asia/Tokyo", "2026-03-29", 24),
        ("Asia/Beirut", "2026-03-29", 23), // The clocks go forward at midnight.
        ("Pacific/Apia", "2011-12-30", 0), // A day that the island skipped.
    ] {
        let slots = day(&hourly(time_zone, &["00:00-24:00"]), date);
        assert_eq!(slots.len(), hours, "{time_zone} {date}: {slots:?}");
    }
    let lord_howe: CalendarRules = rules("Australia/Lord_Howe", &["00:00-24:00"]);
    assert_eq!(day(&lord_howe, "2026-04-05").len(), 49, "half an hour is repeated");
    assert_eq!(day(&lord_howe, "2026-10-04").len(), 47, "half an hour is skipped");
}

#[test]
fn a_skipped_hour_has_no_slots_and_a_window_opens_after_it() {
    let across = rules("Europe/Berlin", &["01:00-04:00"]);
    assert_eq!(
        day(&across, "2026-03-29"),
        ["2026-03-29 01:00", "2026-03-29 01:30", "2026-03-29 03:00", "2026-03-29 03:30"]
    );
    let opens_in_it = rules("Europe/Berlin", &["02:30-04:00"]);
    assert_eq!(day(&opens_in_it, "2026-03-29"), ["2026-03-29 03:00", "2026-03-29 03:30"]);
    let closes_in_it = rules("Europe/Berlin", &["01:00-02:30"]);
    assert_eq!(day(&closes_in_it, "2026-03-29"), ["2026-03-29 01:00", "2026-03-29 01:30"]);
    assert!(day(&rules("Europe/Berlin", &["02:00-03:00"]), "2026-03-29").is_empty());
}

#[test]
fn slots_have_equal_elapsed_time_across_a_clock_change() {
    let mut source = rules_in("Europe/Berlin", &["01:00-05:00"]);
    source.slot_minutes = 90;
    let rules: CalendarRules = source.try_into().unwrap();

    assert_eq!(day(&rules, "2026-03-29"), ["2026-03-29 01:00", "2026-03-29 03:30"]);
    assert_eq!(day(&rules, "2026-10-25"), ["2026-10-25 01:00", "2026-10-25 02:30+02:00", "2026-10-25 03:00"]);
}

#[test]
fn slots_in_the_repeated_hour_have_distinct_labels() {
    let across = rules("Europe/Berlin", &["01:30-03:30"]);
    assert_eq!(
        day(&across, "2026-10-25"),
        [
            "2026-10-25 01:30",
            "2026-10-25 02:00+02:00",
            "2026-10-25 02:30+02:00",
            "2026-10-25 02:00+01:00",
            "2026-10-25 02:30+01:00",
            "2026-10-25 03:00"
        ]
    );
    let new_york = hourly("America/New_York", &["01:00-02:00"]);
    assert_eq!(day(&new_york, "2026-11-01"), ["2026-11-01 01:00-04:00", "2026-11-01 01:00-05:00"]);
    let lord_howe = rules("Australia/Lord_Howe", &["01:00-02:30"]);
    assert_eq!(
        day(&lord_howe, "2026-04-05"),
        ["2026-04-05 01:00", "2026-04-05 01:30+11:00", "2026-04-05 01:30+10:30", "2026-04-05 02:00"]
    );
}

#[test]
fn a_window_that_ends_in_the_repeated_hour_is_open_in_both_its_passes() {
    let two = rules("Europe/Berlin", &["01:30-02:30", "02:30-03:00"]);

    let open = open_times(&two, "2026-10-25".parse().unwrap());

    assert_eq!(open.len(), 4);
    assert!(open.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert_eq!(day(&two, "2026-10-25").len(), 5);
}
