//! Properties for arbitrary rules, bookings and days, including clock changes.

use std::collections::HashSet;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::arguments::AvailabilityRequest;
use super::samples::{request, rules_in};
use super::search::add_days;
use super::*;

const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "UTC",
];

/// Windows of a day in steps of 15 minutes, separate or adjacent.
fn windows() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(0_u32..=96, 2..=6).prop_map(|marks| {
        let marks: Vec<u32> = marks.into_iter().collect();
        let clock = |mark: u32| format!("{:02}:{:02}", mark / 4, mark % 4 * 15);
        marks.chunks_exact(2).map(|pair| format!("{}-{}", clock(pair[0]), clock(pair[1]))).collect()
    })
}

fn any_rules() -> impl Strategy<Value = CalendarRules> {
    let numbers = (prop::sample::select(vec![15_u32, 20, 30, 60, 90]), 0_u32..40, 0_u32..600, 1_u32..40);
    (prop::sample::select(ZONES.to_vec()), windows(), numbers).prop_filter_map(
        "a window has room for a slot",
        |(zone, windows, (slot, buffer, notice, horizon))| {
            let windows: Vec<&str> = windows.iter().map(String::as_str).collect();
            let source = CalendarRulesIn {
                slot_minutes: slot,
                buffer_minutes: buffer,
                minimum_notice_minutes: notice,
                horizon_days: horizon,
                ..rules_in(zone, &windows)
            };
            source.try_into().ok()
        },
    )
}

/// A time in 2026; in half of the cases within two days of a clock change.
fn any_now() -> impl Strategy<Value = Timestamp> {
    let anywhere = 0_i64..365 * 24 * 60;
    // 8 March, 29 March, 5 April, 4 October, 25 October, 1 November.
    let changes = (prop::sample::select(vec![66_i64, 87, 94, 276, 297, 304]), -2 * 24 * 60..24 * 60_i64)
        .prop_map(|(day, minutes)| day * 24 * 60 + minutes);
    let start: Timestamp = "2026-01-01T00:00Z".parse().unwrap();
    prop_oneof![anywhere, changes].prop_map(move |minutes| start + SignedDuration::from_mins(minutes))
}

/// Bookings in the days after `now`, at any time of day.
fn any_busy(now: Timestamp) -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec((-600_i64..6000, 1_i64..300), 0..12).prop_map(move |bookings| {
        let at = |minutes| now + SignedDuration::from_mins(minutes);
        bookings
            .into_iter()
            .map(|(from, length)| Interval { start: at(from), end: at(from + length) })
            .collect()
    })
}

fn any_case() -> impl Strategy<Value = (CalendarRules, Timestamp, Vec<Interval>)> {
    (any_rules(), any_now()).prop_flat_map(|(rules, now)| (Just(rules), Just(now), any_busy(now)))
}

fn today(rules: &CalendarRules, now: Timestamp) -> Date {
    now.to_zoned(TimeZone::get(rules.time_zone()).unwrap()).date()
}

fn next_days(rules: &CalendarRules, now: Timestamp, days: i64) -> AvailabilityRequest {
    let first = today(rules, now);
    AvailabilityRequest { start_date: first.to_string(), end_date: add_days(first, days).to_string() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_offered_slot_can_be_booked_once((rules, now, busy) in any_case()) {
        let question = next_days(&rules, now, 4);
        let offered = find_availability(&rules, &question, &busy, now).unwrap().slots;
        for slot in offered.iter().step_by(7) {
            let datetime = label(slot.start, &rules.zone);
            prop_assert_eq!(decide_booking(&rules, &request(&datetime), &busy, now), Ok(*slot));

            let booked = [busy.as_slice(), &[*slot]].concat();
            prop_assert!(decide_booking(&rules, &request(&datetime), &booked, now).is_err());
            let blocked = slot.pad(rules.buffer);
            let remaining = find_availability(&rules, &question, &booked, now).unwrap().slots;
            prop_assert!(remaining.iter().all(|it| it.end <= blocked.start || blocked.end <= it.start));
            let unaffected = offered.iter().filter(|it| it.end <= blocked.start || blocked.end <= it.start);
            prop_assert!(offered.len() >= MAX_SLOTS || remaining.iter().eq(unaffected));
        }
    }

    #[test]
    fn slots_lie_within_a_window_in_order_with_distinct_labels((rules, now, busy) in any_case()) {
        let slots = find_availability(&rules, &next_days(&rules, now, 4), &busy, now).unwrap().slots;
        let labels: HashSet<String> = slots.iter().map(|slot| label(slot.start, &rules.zone)).collect();
        prop_assert_eq!(labels.len(), slots.len());
        prop_assert!(slots.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for slot in slots {
            prop_assert_eq!(slot.end.duration_since(slot.start), rules.slot);
            let minutes = rules.slot.as_mins();
            let date = rules.zone.to_datetime(slot.start).date();
            for minute in 0..minutes {
                let local = rules.zone.to_datetime(slot.start + SignedDuration::from_mins(minute));
                let open = rules.windows(date.weekday()).iter().any(|window| {
                    let (opens, closes) = window.on(date);
                    opens <= local && local < closes
                });
                prop_assert!(open, "{} is outside the windows", local);
            }
        }
    }

    #[test]
    fn bookings_outside_the_range_do_not_affect_the_decision((rules, now, busy) in any_case(), minutes in -3000_i64..60_000) {
        let requested = now + SignedDuration::from_mins(minutes);
        let request = request(&requested.to_string());
        let range = booking_range(&rules, &request, now);
        let read: Vec<Interval> =
            busy.iter().copied().filter(|it| it.start < range.end && range.start < it.end).collect();
        prop_assert_eq!(
            decide_booking(&rules, &request, &read, now),
            decide_booking(&rules, &request, &busy, now)
        );
    }

    #[test]
    fn the_alternatives_of_a_refusal_can_be_booked((rules, now, busy) in any_case(), hour in 0_i8..24, days in -3_i64..50) {
        let requested = add_days(today(&rules, now), days).to_datetime(Time::constant(hour, 0, 0, 0));
        let Err(refusal) = decide_booking(&rules, &request(&requested.to_string()), &busy, now) else {
            return Ok(());
        };
        for slot in &refusal.available_slots {
            prop_assert!(decide_booking(&rules, &request(slot), &busy, now).is_ok(), "{}", slot);
        }
    }

    #[test]
    fn no_text_makes_the_decision_panic(text in "\\PC{0,40}") {
        let rules: CalendarRules = rules_in("Europe/Berlin", &["09:00-17:00"]).try_into().unwrap();
        let now = "2026-11-24T13:00Z".parse().unwrap();
        prop_assert!(decide_booking(&rules, &request(&text), &[], now).is_err());
        booking_range(&rules, &request(&text), now);
    }
}
