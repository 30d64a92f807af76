//! A `VEVENT`, as far as it bears on when a calendar is busy.

use jiff::{SignedDuration, Span};

use super::component::Component;
use super::recurrence::Exceptions;
use super::times::{Length, Moment, exact, read_duration, read_moment, read_moments};
use super::zones::Zones;

/// How many single dates and exceptions of one event are read.
const MAX_DATES: usize = 10_000;

pub(super) struct Event {
    pub uid: String,
    pub start: Moment,
    pub length: Length,
    /// `RRULE`s, still as text.
    pub rules: Vec<String>,
    /// `RDATE`s, with a length where they have one of their own.
    pub dates: Vec<(Moment, Option<Length>)>,
    /// `EXDATE`s.
    pub exceptions: Exceptions,
    /// The instance of a recurring event that it stands for: `RECURRENCE-ID`.
    pub instance_of: Option<Moment>,
    /// Neither cancelled nor transparent.
    pub is_busy: bool,
    /// What of it cannot be read: it counts as busy from its start on.
    pub unreadable: Option<&'static str>,
}

impl Event {
    pub(super) fn read(
        component: &Component,
        zones: &Zones,
        faults: &mut Vec<&'static str>,
    ) -> Result<Self, &'static str> {
        let start = component.property("DTSTART").ok_or("an event without a start")?;
        let start = read_moment(start, zones, faults)?;
        let mut unreadable = None;
        let length = read_length(component, &start, zones, faults).unwrap_or_else(|fault| {
            unreadable = Some(fault);
            Length::Exact(SignedDuration::ZERO)
        });
        let instance_of = component.property("RECURRENCE-ID");
        let instance_of = instance_of.and_then(|property| {
            // It counts alone then, and what it stands for counts, too.
            read_moment(property, zones, faults).map_err(|fault| faults.push(fault)).ok()
        });
        let mut dates = Vec::new();
        for property in component.properties("RDATE") {
            for date in read_moments(property, zones, faults) {
                match date {
                    Ok(date) => dates.push(date),
                    Err(fault) => unreadable = Some(fault),
                }
            }
        }
        let mut exceptions = Exceptions::default();
        let mut excepted = 0;
        for property in component.properties("EXDATE") {
            for date in read_moments(property, zones, faults) {
                excepted += 1;
                match date {
                    Ok((moment, _)) => exceptions.add(&moment),
                    // What it would have excepted counts.
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if dates.len().max(excepted) > MAX_DATES {
            unreadable = Some("an event with too many dates");
        }
        Ok(Self {
            uid: uid(component),
            start,
            length,
            rules: component.properties("RRULE").map(|property| property.value.clone()).collect(),
            dates,
            exceptions,
            instance_of,
            is_busy: is_busy(component),
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

/// Neither cancelled nor transparent.
pub(super) fn is_busy(component: &Component) -> bool {
    let is = |name, value: &str| {
        component.value(name).is_some_and(|found: &str| found.eq_ignore_ascii_case(value))
    };
    !is("STATUS", "CANCELLED") && !is("TRANSP", "TRANSPARENT")
}

/// Without an end, a day takes the day and a time takes none (RFC 5545, 3.6.1).
fn read_length(
    component: &Component,
    start: &Moment,
    zones: &Zones,
    faults: &mut Vec<&'static str>,
) -> Result<Length, &'static str> {
    if let Some(end) = component.property("DTEND") {
        return exact(start, &read_moment(end, zones, faults)?);
    }
    if let Some(duration) = component.value("DURATION") {
        return read_duration(duration);
    }
    if start.is_day {
        return Ok(Length::Nominal(Span::new().days(1)));
    }
    Ok(Length::Exact(SignedDuration::ZERO))
}
