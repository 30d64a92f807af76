//! Calendars and times for the tests of this module.

use jiff::Timestamp;

use super::arguments::BookingRequest;
use super::datetime::label;
use super::interval::Interval;
use super::rules::{CalendarRules, CalendarRulesIn, HoursIn};

/// The same windows on every day; other settings have their defaults.
pub(crate) fn rules_in(time_zone: &str, windows: &[&str]) -> CalendarRulesIn {
    let day: Vec<String> = windows.iter().map(ToString::to_string).collect();
    let hours = HoursIn {
        mon: day.clone(),
        tue: day.clone(),
        wed: day.clone(),
        thu: day.clone(),
        fri: day.clone(),
        sat: day.clone(),
        sun: day,
    };
    CalendarRulesIn {
        time_zone: time_zone.to_owned(),
        slot_minutes: 30,
        buffer_minutes: 0,
        minimum_notice_minutes: 0,
        horizon_days: 60,
        hours,
        holidays: Vec::new(),
        bookings_per_conversation: None,
        bookings_per_day: None,
    }
}

pub(crate) fn rules(time_zone: &str, windows: &[&str]) -> CalendarRules {
    rules_in(time_zone, windows).try_into().unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn between(start: &str, end: &str) -> Interval {
    Interval { start: at(start), end: at(end) }
}

pub(crate) fn request(start: &str) -> BookingRequest {
    BookingRequest { start: start.to_owned(), title: "Demo".to_owned(), name: None, email: None, notes: None }
}

pub(crate) fn labels(slots: &[Interval], rules: &CalendarRules) -> Vec<String> {
    slots.iter().map(|slot| label(slot.start, &rules.zone)).collect()
}
