//! The starts of a recurring event, by the `rrule` crate.
//!
//! A rule speaks of what the clock of the event's zone shows. So it is expanded on that clock, as if it
//! were UTC's, and only the starts are brought into real time, by the same zone database as all else.

use std::collections::HashSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use rrule::RRuleSet;

use super::event::Event;
use super::times::{EventTime, parse_time};
use super::zones::Uncertainty;
use crate::domain::calendar::{Interval, saturating_add};

/// How many starts of one event are looked at.
const MAX_STARTS: usize = 50_000;
/// The timeout is checked once in this many starts.
const TIMEOUT_CHECK_INTERVAL: usize = 256;
/// No clock is further from UTC.
const MAX_OFFSET: SignedDuration = SignedDuration::from_hours(26);
/// A rule is not longer in bytes: hundreds of parts are nobody's appointment.
const MAX_RULE_LENGTH: usize = 1_000;
/// How many times of one day a rule may name. The crate makes all of a step's starts before it gives the first.
const MAX_TIMES_PER_DAY: usize = 96;
const LOCAL_FORMAT: &str = "%Y%m%dT%H%M%S";

/// Starts that do not count: excepted, or moved.
#[derive(Debug, Default)]
pub(super) struct Exceptions {
    /// Those in an uncertain zone are only comparable with others in the same zone.
    instants: HashSet<(Timestamp, Option<Uncertainty>)>,
    /// Written as days: they take all starts of the day.
    days: HashSet<Date>,
}

impl Exceptions {
    pub(super) fn add(&mut self, time: &EventTime) {
        if time.is_day {
            self.days.insert(time.local.date());
        } else {
            self.instants.extend(time.instant().map(|instant| (instant, time.zone.uncertainty.clone())));
        }
    }

    pub(super) fn contains(&self, start: &EventTime) -> bool {
        self.days.contains(&start.local.date())
            || start
                .instant()
                .is_some_and(|instant| self.instants.contains(&(instant, start.zone.uncertainty.clone())))
    }
}

/// The outcome of expanding a recurrence.
#[derive(Debug)]
pub(super) enum Expansion {
    /// Every start that may bear on the window, exceptions included, and some that do not.
    Complete(Vec<EventTime>),
    Unreadable,
    /// More starts, or more work, than is done for one event.
    TooMany,
    /// The time is up that all events may take.
    TimedOut,
}

/// Expands an event's rules; `remaining` counts what all events together may still be expanded to.
pub(super) fn expand(
    event: &Event,
    window: Interval,
    remaining: &mut usize,
    is_timed_out: &dyn Fn() -> bool,
) -> Expansion {
    let first = saturating_add(window.start, -MAX_OFFSET).checked_sub(event.length.upper_bound());
    let first = first.unwrap_or(Timestamp::MIN);
    let last = saturating_add(window.end, MAX_OFFSET);
    // The start itself always counts, be it one of the rule or not.
    let mut starts = vec![event.start.clone()];
    for rule in &event.rules {
        if is_timed_out() {
            return Expansion::TimedOut;
        }
        let Some(rule) = Rule::read(rule, &event.start) else { return Expansion::Unreadable };
        match rule.starts(&event.start, first, last, remaining, is_timed_out) {
            Expansion::Complete(more) => {
                starts.extend(more.into_iter().filter(|start| *start != event.start));
            }
            other @ (Expansion::Unreadable | Expansion::TooMany | Expansion::TimedOut) => return other,
        }
    }
    Expansion::Complete(starts)
}

/// A rule whose `UNTIL` is on the event's clock.
pub(super) struct Rule {
    text: String,
    /// On the clock.
    until: Option<Timestamp>,
    count: Option<usize>,
    is_subdaily: bool,
    /// Of it, more is to be expanded than is ever done.
    is_too_expensive: bool,
}

impl Rule {
    pub(super) fn read(text: &str, start: &EventTime) -> Option<Self> {
        let mut rule = Self {
            text: String::new(),
            until: None,
            count: None,
            is_subdaily: false,
            is_too_expensive: text.len() > MAX_RULE_LENGTH,
        };
        let mut times_per_day = 1_usize;
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim().to_ascii_uppercase(), value.trim());
            match name.as_str() {
                "UNTIL" => rule.until = Some(read_until(value, start)?),
                "COUNT" => rule.count = Some(value.parse().ok()?),
                "FREQ" => {
                    let subdaily = ["HOURLY", "MINUTELY", "SECONDLY"];
                    rule.is_subdaily = subdaily.iter().any(|freq| value.eq_ignore_ascii_case(freq));
                    rule.is_too_expensive |= rule.is_subdaily && !value.eq_ignore_ascii_case("HOURLY");
                }
                "BYHOUR" | "BYMINUTE" | "BYSECOND" => {
                    times_per_day = times_per_day.saturating_mul(value.split(',').count());
                }
                _ => {}
            }
            // The default of every rule (RFC 7529).
            let is_default = match name.as_str() {
                "RSCALE" => value.eq_ignore_ascii_case("GREGORIAN"),
                "SKIP" => value.eq_ignore_ascii_case("OMIT"),
                _ => false,
            };
            if name != "UNTIL" && !is_default {
                rule.text.extend([&name, "=", &value.to_ascii_uppercase(), ";"]);
            }
        }
        rule.is_too_expensive |= times_per_day > MAX_TIMES_PER_DAY;
        if let Some(until) = rule.until {
            let until = Offset::UTC.to_datetime(until).strftime(LOCAL_FORMAT).to_string();
            rule.text.extend(["UNTIL=", &until, "Z"]);
        }
        Some(rule)
    }

    /// The starts from `first` to `last`, both on the clock.
    pub(super) fn starts(
        &self,
        start: &EventTime,
        first: Timestamp,
        last: Timestamp,
        remaining: &mut usize,
        is_timed_out: &dyn Fn() -> bool,
    ) -> Expansion {
        let Some(begin) = start.local_as_utc() else { return Expansion::Unreadable };
        if begin > last || self.until.is_some_and(|until| until < begin || until < first) {
            return Expansion::Complete(Vec::new());
        }
        if self.is_too_expensive {
            return Expansion::TooMany;
        }
        let text = format!("DTSTART:{}Z\nRRULE:{}", start.local.strftime(LOCAL_FORMAT), self.text);
        let Ok(set) = text.trim_end_matches(';').parse::<RRuleSet>() else { return Expansion::Unreadable };
        let mut starts = Vec::new();
        let mut expanded = 0;
        // The limit ends a rule that finds nothing in very many steps, as 30 February.
        for found in &set.limit() {
            expanded += 1;
            if expanded % TIMEOUT_CHECK_INTERVAL == 0 && is_timed_out() {
                return Expansion::TimedOut;
            }
            if expanded > MAX_STARTS || *remaining == 0 {
                return Expansion::TooMany;
            }
            *remaining -= 1;
            let Ok(at) = Timestamp::from_second(found.timestamp()) else { break };
            if at > last {
                return Expansion::Complete(starts);
            }
            if at >= first {
                starts.push(start.at(TimeZone::UTC.to_datetime(at)));
            }
        }
        // A rule within the day that has no more to give, though it neither has ended nor was counted out,
        // has met the limit.
        let is_count_reached = self.count.is_some_and(|count| count <= expanded);
        let is_until_reached = self.until.is_some_and(|until| until < last);
        if self.is_subdaily && !is_count_reached && !is_until_reached {
            return Expansion::TooMany;
        }
        Expansion::Complete(starts)
    }
}

/// On the event's clock. A day is meant with all its times.
fn read_until(text: &str, start: &EventTime) -> Option<Timestamp> {
    let until = parse_time(text, &start.zone).ok()?;
    let local: DateTime = if until.is_day {
        until.local.date().at(23, 59, 59, 0)
    } else if until.zone == start.zone {
        until.local
    } else {
        // In an uncertain zone, the last time that the clock may show.
        start.zone.time_zone.to_datetime(saturating_add(until.instant()?, start.zone.earlier()))
    };
    Offset::UTC.to_timestamp(local).ok()
}
