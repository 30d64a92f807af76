//! The rules of a calendar: as written, and validated.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::domain::invalid_field::InvalidField;

const MINUTES_PER_DAY: u32 = 24 * 60;
/// The longest appointment.
pub const MAX_SLOT_LENGTH: std::time::Duration = std::time::Duration::from_hours(24);
const MAX_NOTICE_MINUTES: u32 = 365 * MINUTES_PER_DAY;
const MAX_HORIZON_DAYS: u32 = 3650;
const MAX_BOOKINGS_PER_CONVERSATION: u32 = 10_000;
const MAX_BOOKINGS_PER_DAY: u32 = 100_000;
/// The most days without appointments: the rules are a part of each version of an assistant that uses the calendar.
pub const MAX_HOLIDAYS: usize = 1000;
/// The most windows of a day.
pub const MAX_WINDOWS: usize = 48;

/// The rules as they are written in the workspace file, sent to the API and stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarRulesIn {
    /// An IANA name: `Europe/Berlin`.
    pub time_zone: String,
    /// Length of an appointment in minutes, from 1 to 1440.
    #[serde(default = "default_slot_minutes")]
    pub slot_minutes: u32,
    /// Minutes kept free before and after each appointment, up to a day.
    #[serde(default)]
    pub buffer_minutes: u32,
    /// The minimum time between now and an appointment's start, in minutes, up to a year.
    #[serde(default)]
    pub minimum_notice_minutes: u32,
    /// The number of days after today that can be booked, 1 to 3650.
    #[serde(default = "default_horizon_days")]
    pub horizon_days: u32,
    /// Windows of opening hours by weekday.
    #[serde(default)]
    pub hours: HoursIn,
    /// Dates (`YYYY-MM-DD`) without any appointment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<String>,
    /// How often one conversation may book, cancelled bookings included: 1 to 10,000. None: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookings_per_conversation: Option<u32>,
    /// The number of bookings that are made on one day (UTC), cancelled ones included: 1 to 100,000. None: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookings_per_day: Option<u32>,
}

/// Windows such as `09:00-12:00` for each day of the week; a day without any is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of days, such as { mon = [\"09:00-17:00\"] }")]
#[expect(missing_docs, reason = "the days of the week")]
pub struct HoursIn {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mon: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tue: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thu: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fri: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sat: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sun: Vec<String>,
}

impl CalendarRulesIn {
    /// Rules with these required fields, and the defaults of the others.
    pub fn new(time_zone: String, hours: HoursIn) -> Self {
        Self {
            time_zone,
            slot_minutes: default_slot_minutes(),
            buffer_minutes: 0,
            minimum_notice_minutes: 0,
            horizon_days: default_horizon_days(),
            hours,
            holidays: Vec::new(),
            bookings_per_conversation: None,
            bookings_per_day: None,
        }
    }
}

/// Changes to rules. Absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of `CalendarRulesIn`")]
pub struct CalendarRulesPatch {
    pub time_zone: Option<String>,
    pub slot_minutes: Option<u32>,
    pub buffer_minutes: Option<u32>,
    pub minimum_notice_minutes: Option<u32>,
    pub horizon_days: Option<u32>,
    pub hours: Option<HoursIn>,
    pub holidays: Option<Vec<String>>,
    pub bookings_per_conversation: Option<u32>,
    pub bookings_per_day: Option<u32>,
}

impl CalendarRulesPatch {
    /// The rules after the change.
    ///
    /// # Errors
    /// If they are not valid together.
    pub fn apply(self, old: CalendarRulesIn) -> Result<CalendarRules, InvalidField> {
        let rules = CalendarRulesIn {
            time_zone: self.time_zone.unwrap_or(old.time_zone),
            slot_minutes: self.slot_minutes.unwrap_or(old.slot_minutes),
            buffer_minutes: self.buffer_minutes.unwrap_or(old.buffer_minutes),
            minimum_notice_minutes: self.minimum_notice_minutes.unwrap_or(old.minimum_notice_minutes),
            horizon_days: self.horizon_days.unwrap_or(old.horizon_days),
            hours: self.hours.unwrap_or(old.hours),
            holidays: self.holidays.unwrap_or(old.holidays),
            bookings_per_conversation: self.bookings_per_conversation.or(old.bookings_per_conversation),
            bookings_per_day: self.bookings_per_day.or(old.bookings_per_day),
        };
        rules.try_into()
    }
}

impl HoursIn {
    /// Monday first, each with its key in the file.
    pub fn days(&self) -> [(&'static str, &[String]); 7] {
        [
            ("mon", &self.mon),
            ("tue", &self.tue),
            ("wed", &self.wed),
            ("thu", &self.thu),
            ("fri", &self.fri),
            ("sat", &self.sat),
            ("sun", &self.sun),
        ]
    }
}

fn default_slot_minutes() -> u32 {
    30
}

fn default_horizon_days() -> u32 {
    60
}

/// A visitor may change an appointment a few times.
const BOOKINGS_PER_CONVERSATION: u32 = 10;
/// More than a calendar has slots on a usual day, since at most one appointment is in each.
const BOOKINGS_PER_DAY: u32 = 100;

/// Validated rules: the zone exists, the windows are sorted and do not overlap, and each has room for a slot.
///
/// Read and written by serde in the form of [`CalendarRulesIn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CalendarRulesIn", into = "CalendarRulesIn")]
pub struct CalendarRules {
    pub(super) zone: TimeZone,
    pub(super) slot: SignedDuration,
    pub(super) buffer: SignedDuration,
    pub(super) minimum_notice: SignedDuration,
    pub(super) horizon_days: u32,
    bookings_per_conversation: u32,
    bookings_per_day: u32,
    holidays: BTreeSet<Date>,
    /// By weekday, Monday first; sorted.
    windows: [Vec<Window>; 7],
    source: CalendarRulesIn,
}

impl CalendarRules {
    /// The canonical IANA name of the calendar's zone.
    pub fn time_zone(&self) -> &str {
        &self.source.time_zone
    }

    /// The calendar's zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// How often one conversation may book, cancelled bookings included.
    pub fn bookings_per_conversation(&self) -> u32 {
        self.bookings_per_conversation
    }

    /// The number of bookings that are made on one day (UTC), cancelled ones included.
    pub fn bookings_per_day(&self) -> u32 {
        self.bookings_per_day
    }

    /// The rules as they were written, with the canonical name of the zone.
    pub fn source(&self) -> &CalendarRulesIn {
        &self.source
    }

    pub(super) fn windows(&self, day: Weekday) -> &[Window] {
        usize::try_from(day.to_monday_zero_offset()).ok().and_then(|i| self.windows.get(i)).map_or(&[], |w| w)
    }

    pub(super) fn is_holiday(&self, date: Date) -> bool {
        self.holidays.contains(&date)
    }
}

impl From<CalendarRules> for CalendarRulesIn {
    fn from(rules: CalendarRules) -> Self {
        rules.source
    }
}

impl TryFrom<CalendarRulesIn> for CalendarRules {
    type Error = InvalidField;

    fn try_from(mut source: CalendarRulesIn) -> Result<Self, InvalidField> {
        let zone = TimeZone::get(&source.time_zone).map_err(|_| {
            let problem = format!(
                "\"{}\" is not a time zone of the IANA database, such as \"Europe/Berlin\"",
                source.time_zone
            );
            InvalidField::new("time_zone", problem)
        })?;
        if let Some(name) = zone.iana_name() {
            name.clone_into(&mut source.time_zone);
        }
        check_numbers(&source)?;
        let minutes = |minutes: u32| SignedDuration::from_mins(minutes.into());
        Ok(Self {
            zone,
            slot: minutes(source.slot_minutes),
            buffer: minutes(source.buffer_minutes),
            minimum_notice: minutes(source.minimum_notice_minutes),
            horizon_days: source.horizon_days,
            bookings_per_conversation: source.bookings_per_conversation.unwrap_or(BOOKINGS_PER_CONVERSATION),
            bookings_per_day: source.bookings_per_day.unwrap_or(BOOKINGS_PER_DAY),
            holidays: read_holidays(&source.holidays)?,
            windows: read_hours(&source.hours, source.slot_minutes)?,
            source,
        })
    }
}

fn check_numbers(source: &CalendarRulesIn) -> Result<(), InvalidField> {
    let ranges = [
        ("slot_minutes", source.slot_minutes, 1, MINUTES_PER_DAY),
        ("buffer_minutes", source.buffer_minutes, 0, MINUTES_PER_DAY),
        ("minimum_notice_minutes", source.minimum_notice_minutes, 0, MAX_NOTICE_MINUTES),
        ("horizon_days", source.horizon_days, 1, MAX_HORIZON_DAYS),
    ];
    let bounds = [
        ("bookings_per_conversation", source.bookings_per_conversation, MAX_BOOKINGS_PER_CONVERSATION),
        ("bookings_per_day", source.bookings_per_day, MAX_BOOKINGS_PER_DAY),
    ];
    let bounds = bounds.into_iter().filter_map(|(field, value, max)| Some((field, value?, 1, max)));
    for (field, value, min, max) in ranges.into_iter().chain(bounds) {
        if !(min..=max).contains(&value) {
            return Err(InvalidField::new(field, format_args!("{value} is not between {min} and {max}")));
        }
    }
    if source.minimum_notice_minutes >= source.horizon_days * MINUTES_PER_DAY {
        let problem =
            format!("as long as the horizon of {} days: nothing could be booked", source.horizon_days);
        return Err(InvalidField::new("minimum_notice_minutes", problem));
    }
    Ok(())
}

fn read_holidays(holidays: &[String]) -> Result<BTreeSet<Date>, InvalidField> {
    if holidays.len() > MAX_HOLIDAYS {
        return Err(InvalidField::new("holidays", format_args!("more than {MAX_HOLIDAYS} days")));
    }
    let read = |(index, text): (usize, &String)| {
        Date::strptime("%Y-%m-%d", text).map_err(|_| {
            let problem = format!("\"{text}\" is not a date such as \"2026-12-25\"");
            InvalidField::new(format_args!("holidays[{index}]"), problem)
        })
    };
    holidays.iter().enumerate().map(read).collect()
}

fn read_hours(hours: &HoursIn, slot_minutes: u32) -> Result<[Vec<Window>; 7], InvalidField> {
    let mut week: [Vec<Window>; 7] = Default::default();
    for (windows, (day, texts)) in week.iter_mut().zip(hours.days()) {
        *windows = read_day(day, texts, slot_minutes)?;
    }
    if week.iter().all(Vec::is_empty) {
        return Err(InvalidField::new("hours", "no day has a window, such as mon = [\"09:00-17:00\"]"));
    }
    Ok(week)
}

fn read_day(day: &str, texts: &[String], slot_minutes: u32) -> Result<Vec<Window>, InvalidField> {
    if texts.len() > MAX_WINDOWS {
        let problem = format_args!("more than {MAX_WINDOWS} windows");
        return Err(InvalidField::new(format_args!("hours.{day}"), problem));
    }
    let mut windows: Vec<Window> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let error = |problem: String| InvalidField::new(format_args!("hours.{day}[{index}]"), problem);
        let window: Window = text.parse().map_err(error)?;
        if let Some(other) = windows.iter().find(|other| other.overlaps(window)) {
            return Err(error(format!("{window} overlaps {other}")));
        }
        if window.minutes() < slot_minutes {
            return Err(error(format!("{window} is shorter than a slot of {slot_minutes} minutes")));
        }
        windows.push(window);
    }
    windows.sort_unstable();
    Ok(windows)
}

#[cfg(test)]
mod tests;
