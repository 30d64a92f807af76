//! Dates, times and lengths as iCalendar writes them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Span, Timestamp};

use super::component::Property;
use super::zones::{Zone, Zones};
use crate::domain::calendar::{Interval, saturating_add};

/// A time on the clock of a zone, or a day of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventTime {
    /// A day's midnight where it is one.
    pub local: DateTime,
    pub zone: Zone,
    pub is_day: bool,
}

impl EventTime {
    /// None beyond what timestamps hold. A time that the clocks skip is what they show just before and after
    /// it is read on; of one that comes twice it is the first (RFC 5545, 3.3.5). Nominal in an uncertain zone.
    pub(super) fn instant(&self) -> Option<Timestamp> {
        self.zone.time_zone.to_ambiguous_timestamp(self.local).compatible().ok()
    }

    /// The first instant that it may mean.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        Some(saturating_add(self.instant()?, -self.zone.earlier()))
    }

    /// The last instant that it may mean.
    fn latest(&self) -> Option<Timestamp> {
        Some(saturating_add(self.instant()?, self.zone.later()))
    }

    /// The same clock at another time.
    pub(super) fn at(&self, local: DateTime) -> Self {
        Self { local, zone: self.zone.clone(), is_day: self.is_day }
    }

    /// The local time read as UTC, because recurrences are computed in local time.
    pub(super) fn local_as_utc(&self) -> Option<Timestamp> {
        Offset::UTC.to_timestamp(self.local).ok()
    }
}

/// How long an event takes.
#[derive(Debug, Clone)]
pub(super) enum Length {
    /// In elapsed time.
    Exact(SignedDuration),
    /// On the clock: a day may have 23 hours.
    Nominal(Span),
}

impl Length {
    /// The time that it takes from a start, with all that it may take in an uncertain zone; none beyond what
    /// timestamps hold, or where it ends before.
    pub(super) fn interval_from(&self, start: &EventTime) -> Option<Interval> {
        let at = start.instant()?;
        let end = match self {
            Self::Exact(length) => saturating_add(at, *length),
            Self::Nominal(span) => {
                at.to_zoned(start.zone.time_zone.clone()).checked_add(*span).ok()?.timestamp()
            }
        };
        if at == end {
            return Some(Interval { start: at, end });
        }
        let end = saturating_add(end, start.zone.later());
        (at < end).then_some(Interval { start: start.earliest()?, end })
    }

    /// At least as long as it ever is.
    pub(super) fn upper_bound(&self) -> SignedDuration {
        const DAY: SignedDuration = SignedDuration::from_hours(24);
        match self {
            Self::Exact(length) => *length,
            Self::Nominal(span) => {
                let days = jiff::SpanRelativeTo::days_are_24_hours();
                span.to_duration(days).unwrap_or(SignedDuration::MAX / 2).saturating_add(DAY)
            }
        }
    }
}

/// The moments of a property, which may list several, or none; each may be one that cannot be read. `warnings` is
/// told what was guessed.
pub(super) fn read_times<'p>(
    property: &'p Property,
    zones: &Zones,
    warnings: &mut Vec<&'static str>,
) -> impl Iterator<Item = Result<(EventTime, Option<Length>), &'static str>> + use<'p> {
    let zone = property.parameter("TZID").map_or_else(|| zones.floating.clone(), |name| zones.get(name));
    let days = zones.calendar.clone();
    let texts: Vec<_> = property.value.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
    let is_uncertain = |text: &&str| text.contains(['T', 't']) && !text.ends_with(['Z', 'z']);
    if zone.is_uncertain() && texts.iter().any(is_uncertain) {
        warnings.push("a time zone that is not known: busy at all times that it may mean");
    }
    texts.into_iter().map(move |text| {
        let (mut time, length) = read_time_or_period(text, &zone)?;
        // A day has no zone, even if a TZID is written (RFC 5545, 3.2.19).
        if time.is_day {
            time.zone = days.clone();
        }
        Ok((time, length))
    })
}

/// The one moment of a property.
pub(super) fn read_time(
    property: &Property,
    zones: &Zones,
    warnings: &mut Vec<&'static str>,
) -> Result<EventTime, &'static str> {
    let mut times = read_times(property, zones, warnings);
    match (times.next().transpose()?, times.next()) {
        (Some((time, None)), None) => Ok(time),
        (None, _) => Err("a property without a time"),
        _ => Err("a property with more than one time"),
    }
}

fn read_time_or_period(text: &str, zone: &Zone) -> Result<(EventTime, Option<Length>), &'static str> {
    let Some((start, end)) = text.split_once('/') else { return Ok((parse_time(text, zone)?, None)) };
    let start = parse_time(start, zone)?;
    let length = match parse_time(end, zone) {
        Ok(end) => length_between(&start, &end)?,
        Err(_) => read_duration(end)?,
    };
    Ok((start, Some(length)))
}

/// `20261130`, `20261130T100000` or `20261130T090000Z`.
pub(super) fn parse_time(text: &str, zone: &Zone) -> Result<EventTime, &'static str> {
    const UNREADABLE: &str = "a time that cannot be read";
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        let local = DateTime::strptime("%Y%m%dT%H%M%S", clock).map_err(|_| UNREADABLE)?;
        return Ok(EventTime { local, zone: Zone::utc(), is_day: false });
    }
    if let Ok(local) = DateTime::strptime("%Y%m%dT%H%M%S", text) {
        return Ok(EventTime { local, zone: zone.clone(), is_day: false });
    }
    let date = Date::strptime("%Y%m%d", text).map_err(|_| UNREADABLE)?;
    Ok(EventTime { local: date.to_datetime(Time::midnight()), zone: zone.clone(), is_day: true })
}

/// From one moment to another: whole days between days, and at least one; elapsed time between times.
pub(super) fn length_between(start: &EventTime, end: &EventTime) -> Result<Length, &'static str> {
    if start.is_day && end.is_day {
        // Programs write the first day as the end, too.
        let days = (end.local.date() - start.local.date()).get_days().max(1);
        let span = Span::new().try_days(days).map_err(|_| "an event that is too long")?;
        return Ok(Length::Nominal(span));
    }
    let times = if start.zone == end.zone {
        start.instant().zip(end.instant())
    } else {
        start.earliest().zip(end.latest())
    };
    let (start, end) = times.ok_or("a time beyond what can be reckoned with")?;
    if end < start {
        Err("an event that ends before it starts")
    } else {
        Ok(Length::Exact(end.duration_since(start)))
    }
}

/// `PT30M`, `P1D`, `P2W`.
pub(super) fn read_duration(text: &str) -> Result<Length, &'static str> {
    let span: Span = text.trim_start_matches('+').parse().map_err(|_| "a duration that cannot be read")?;
    if span.is_negative() { Err("a duration below zero") } else { Ok(Length::Nominal(span)) }
}
