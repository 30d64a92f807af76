//! The time zones that an iCalendar text defines itself: `VTIMEZONE` (RFC 5545, 3.6.5).
//!
//! The onsets of the observances are expanded and handed to jiff as `TZif` data (RFC 8536).

use std::collections::HashMap;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::component::Component;
use super::recurrence::{Expansion, Rule};
use super::times::{EventTime, parse_time};
use super::zones::{Zone, parse_offset};
use crate::domain::calendar::saturating_add;

/// How many onsets a zone may have. Outlook's zones begin in the year 1601 and have two a year.
const MAX_ONSETS: usize = 5_000;
/// Onsets this long after the window are read, because an event may end after it.
const MARGIN: SignedDuration = SignedDuration::from_hours(24 * 366);

/// The definitions that were read. Most events of an answer repeat the same one.
pub(super) struct ZoneDefinitions {
    read: HashMap<Component, Option<TimeZone>>,
    /// Onsets after this are not read.
    pub last_onset: Timestamp,
}

impl ZoneDefinitions {
    /// Onsets are read until some time after `end`.
    pub(super) fn until(end: Timestamp) -> Self {
        Self { read: HashMap::new(), last_onset: saturating_add(end, MARGIN) }
    }

    /// The zone that a `VTIMEZONE` defines; none if any of its observances cannot be read or expanded within bounds.
    pub(super) fn get(
        &mut self,
        definition: &Component,
        is_timed_out: &dyn Fn() -> bool,
    ) -> Option<TimeZone> {
        if let Some(zone) = self.read.get(definition) {
            return zone.clone();
        }
        let zone = read_definition(definition, self.last_onset, is_timed_out);
        self.read.insert(definition.clone(), zone.clone());
        zone
    }
}

/// From one instant on, a zone has another offset.
struct Onset {
    at: Timestamp,
    from: Offset,
    to: Offset,
}

fn read_definition(
    definition: &Component,
    last_onset: Timestamp,
    is_timed_out: &dyn Fn() -> bool,
) -> Option<TimeZone> {
    let observances: Vec<&Component> =
        ["STANDARD", "DAYLIGHT"].into_iter().flat_map(|name| definition.children(name)).collect();
    let mut offsets = Vec::new();
    for observance in &observances {
        let to = parse_offset(observance.value("TZOFFSETTO")?)?;
        let from = match observance.value("TZOFFSETFROM") {
            Some(from) => parse_offset(from)?,
            None if observances.len() == 1 => to,
            None => return None,
        };
        offsets.push((from, to));
    }
    let (_, first) = *offsets.first()?;
    if offsets.iter().all(|(from, to)| *from == first && *to == first) {
        return Some(TimeZone::fixed(first));
    }
    let mut remaining = MAX_ONSETS;
    let (mut onsets, mut beginnings) = (Vec::new(), Vec::new());
    for (observance, (from, to)) in observances.into_iter().zip(offsets) {
        // The local times of an observance are on the clock before its onset.
        let zone = Zone::exact(TimeZone::fixed(from));
        let start = parse_time(observance.value("DTSTART")?, &zone).ok()?;
        beginnings.push(Onset { at: start.instant()?, from, to });
        for time in onset_times(observance, &start, last_onset, &mut remaining, is_timed_out)? {
            onsets.push(Onset { at: time.instant()?, from, to });
        }
    }
    onsets.sort_by_key(|onset| onset.at);
    let earliest = onsets.first().or_else(|| beginnings.iter().min_by_key(|onset| onset.at))?;
    time_zone(earliest.from, &onsets)
}

fn onset_times(
    observance: &Component,
    start: &EventTime,
    last: Timestamp,
    remaining: &mut usize,
    is_timed_out: &dyn Fn() -> bool,
) -> Option<Vec<EventTime>> {
    let mut times = Vec::new();
    for rule in observance.properties("RRULE") {
        if is_timed_out() {
            return None;
        }
        let rule = Rule::read(&rule.value, start)?;
        match rule.starts(start, Timestamp::MIN, last, remaining, is_timed_out) {
            Expansion::Complete(more) => times.extend(more),
            Expansion::Unreadable | Expansion::TooMany | Expansion::TimedOut => return None,
        }
    }
    // A start that does not follow its rule, such as a 1 January, is not an onset. RFC 5545 leaves it undefined.
    if times.is_empty() {
        times.push(start.clone());
    }
    for property in observance.properties("RDATE") {
        for text in property.value.split(',') {
            *remaining = remaining.checked_sub(1)?;
            let start_text = text.split('/').next().unwrap_or_default();
            times.push(parse_time(start_text.trim(), &start.zone).ok()?);
        }
    }
    Some(times)
}

/// `initial` is the offset before the first onset.
fn time_zone(initial: Offset, onsets: &[Onset]) -> Option<TimeZone> {
    const DESIGNATION: &[u8] = b"LMT\0";
    let mut types = vec![initial];
    let (mut times, mut indices) = (Vec::new(), Vec::new());
    for (position, onset) in onsets.iter().enumerate() {
        // Of onsets at the same instant the last counts: the times of TZif ascend.
        if onsets.get(position + 1).is_some_and(|next| next.at.as_second() == onset.at.as_second()) {
            continue;
        }
        let known = types.iter().position(|offset| *offset == onset.to);
        let index = known.unwrap_or_else(|| {
            types.push(onset.to);
            types.len() - 1
        });
        times.extend(onset.at.as_second().to_be_bytes());
        indices.push(u8::try_from(index).ok()?);
    }
    let header = |time_count: usize, type_count: usize| -> Option<Vec<u8>> {
        let mut header = b"TZif2".to_vec();
        header.resize(20, 0);
        for count in [0, 0, 0, time_count, type_count, DESIGNATION.len()] {
            header.extend(u32::try_from(count).ok()?.to_be_bytes());
        }
        Some(header)
    };
    let local_type = |offset: &Offset| [&offset.seconds().to_be_bytes()[..], &[0, 0]].concat();
    let data = [
        // The first block, for readers of version 1, is required and skipped.
        header(0, 1)?,
        local_type(&initial),
        DESIGNATION.to_vec(),
        header(indices.len(), types.len())?,
        times,
        indices,
        types.iter().flat_map(local_type).collect(),
        DESIGNATION.to_vec(),
        b"\n\n".to_vec(),
    ];
    TimeZone::tzif("", &data.concat()).ok()
}
