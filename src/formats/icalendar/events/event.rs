//! A `VEVENT`, as far as it bears on when a calendar is busy.

use jiff::{SignedDuration, Span};

use super::component::{Component, Property};
use super::recurrence::Exceptions;
use super::times::{EventTime, Length, length_between, read_duration, read_time, read_times};
use super::zones::Zones;

/// How many single dates and exceptions of one event are read.
const MAX_DATES: usize = 10_000;

pub(super) struct Event {
    pub uid: String,
    pub start: EventTime,
    pub length: Length,
    /// `RRULE`s, still as text.
    pub rules: Vec<String>,
    /// `RDATE`s, with a length where they have one of their own.
    pub dates: Vec<(EventTime, Option<Length>)>,
    /// `EXDATE`s.
    pub exceptions: Exceptions,
    /// The instance of a recurring event that it replaces: `RECURRENCE-ID`.
    pub recurrence_id: Option<EventTime>,
    /// Neither cancelled, transparent nor declined.
    pub is_busy: bool,
    /// Why its length or rule is unreadable; the event then counts as busy from its start on.
    pub unreadable: Option<&'static str>,
}

impl Event {
    pub(super) fn read(
        component: &Component,
        zones: &Zones,
        users: &[String],
        warnings: &mut Vec<&'static str>,
    ) -> Result<Self, &'static str> {
        let start = component.property("DTSTART").ok_or("an event without a start")?;
        let start = read_time(start, zones, warnings)?;
        let mut unreadable = None;
        let length = read_length(component, &start, zones, warnings).unwrap_or_else(|reason| {
            unreadable = Some(reason);
            Length::Exact(SignedDuration::ZERO)
        });
        let recurrence_id = component.property("RECURRENCE-ID");
        let recurrence_id = recurrence_id.and_then(|property| {
            // The event then counts in addition to the instance that it replaces.
            read_time(property, zones, warnings).map_err(|reason| warnings.push(reason)).ok()
        });
        let mut dates = Vec::new();
        for property in component.properties("RDATE") {
            for date in read_times(property, zones, warnings) {
                match date {
                    Ok(date) => dates.push(date),
                    Err(reason) => unreadable = Some(reason),
                }
            }
        }
        let mut exceptions = Exceptions::default();
        let mut exception_count = 0;
        for property in component.properties("EXDATE") {
            for date in read_times(property, zones, warnings) {
                exception_count += 1;
                match date {
                    Ok((time, _)) => exceptions.add(&time),
                    // The dates that it would have excluded count as busy.
                    Err(reason) => warnings.push(reason),
                }
            }
        }
        if dates.len().max(exception_count) > MAX_DATES {
            unreadable = Some("an event with too many dates");
        }
        Ok(Self {
            uid: uid(component),
            start,
            length,
            rules: component.properties("RRULE").map(|property| property.value.clone()).collect(),
            dates,
            exceptions,
            recurrence_id,
            is_busy: is_busy(component, users),
            unreadable,
        })
    }

    pub(super) fn recurs(&self) -> bool {
        !self.rules.is_empty() || !self.dates.is_empty()
    }
}

pub(super) fn uid(component: &Component) -> String {
    component.value("UID").unwrap_or_default().to_owned()
}

/// Neither cancelled, transparent nor declined by the calendar's user.
pub(super) fn is_busy(component: &Component, users: &[String]) -> bool {
    let is = |name, value: &str| {
        component.value(name).is_some_and(|found: &str| found.eq_ignore_ascii_case(value))
    };
    // Outlook's property says the same as the standard one, which has priority.
    let is_transparent = match component.value("TRANSP") {
        Some(_) => is("TRANSP", "TRANSPARENT"),
        None => is("X-MICROSOFT-CDO-BUSYSTATUS", "FREE"),
    };
    !is("STATUS", "CANCELLED") && !is_transparent && !has_declined(component, users)
}

/// Only if each `ATTENDEE` that is the user says so.
fn has_declined(component: &Component, users: &[String]) -> bool {
    let is_user = |attendee: &&Property| {
        let addresses = [Some(attendee.value.as_str()), attendee.parameter("EMAIL")];
        addresses.into_iter().flatten().any(|address| users.contains(&user_address(address)))
    };
    let mut answers = component
        .properties("ATTENDEE")
        .filter(is_user)
        .map(|attendee| attendee.parameter("PARTSTAT"))
        .peekable();
    answers.peek().is_some()
        && answers.all(|answer| answer.is_some_and(|answer| answer.eq_ignore_ascii_case("DECLINED")))
}

/// An address of a calendar's user (RFC 6638, 2.4.1) in the form in which addresses are compared: without `mailto:`,
/// in lower case.
pub fn user_address(text: &str) -> String {
    let address = text.trim().to_lowercase();
    address.strip_prefix("mailto:").unwrap_or(&address).trim().to_owned()
}

/// Without an end, a day takes the day and a time takes none (RFC 5545, 3.6.1).
fn read_length(
    component: &Component,
    start: &EventTime,
    zones: &Zones,
    warnings: &mut Vec<&'static str>,
) -> Result<Length, &'static str> {
    if let Some(end) = component.property("DTEND") {
        return length_between(start, &read_time(end, zones, warnings)?);
    }
    if let Some(duration) = component.value("DURATION") {
        return read_duration(duration);
    }
    if start.is_day {
        return Ok(Length::Nominal(Span::new().days(1)));
    }
    Ok(Length::Exact(SignedDuration::ZERO))
}
