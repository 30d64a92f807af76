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
}

impl Event {
    pub(super) fn read(
        component: &Component,
        zones: &Zones,
        faults: &mut Vec<&'static str>,
    ) -> Result<Self, &'static str> {
        let start = component.property("DTSTART").ok_or("an event without a start")?;
        let start = read_moment(start, zones, faults)?;
        let length = read_length(component, &start, zones, faults)?;
        let instance_of = component.property("RECURRENCE-ID");
        let instance_of = instance_of.map(|property| read_moment(property, zones, faults)).transpose()?;
        let mut dates = Vec::new();
        for property in component.properties("RDATE") {
            dates.extend(read_moments(property, zones, faults)?);
        }
        let mut exceptions = Exceptions::default();
        let mut excepted = 0;
        for property in component.properties("EXDATE") {
            for (moment, _) in read_moments(property, zones, faults)? {
                exceptions.add(&moment);
                excepted += 1;
            }
        }
        if dates.len().max(excepted) > MAX_DATES {
            return Err("an event with too many dates");
        }
        let is = |name, value: &str| {
            component.value(name).is_some_and(|found: &str| found.eq_ignore_ascii_case(value))
        };
        Ok(Self {
            uid: component.value("UID").unwrap_or_default().to_owned(),
            start,
            length,
            rules: component.properties("RRULE").map(|property| property.value.clone()).collect(),
            dates,
            exceptions,
            instance_of,
            is_busy: !is("STATUS", "CANCELLED") && !is("TRANSP", "TRANSPARENT"),
        })
    }

    pub(super) fn recurs(&self) -> bool {
        !self.rules.is_empty() || !self.dates.is_empty()
    }
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
