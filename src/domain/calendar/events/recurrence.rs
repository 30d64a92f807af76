//! The starts of a recurring event, by the `rrule` crate.
//!
//! A rule speaks of what the clock of the event's zone shows. So it is expanded on that clock, as if it
//! were UTC's, and only the starts are brought into real time, by the same zone database as all else.

use std::collections::HashSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use rrule::RRuleSet;

use super::super::interval::{Interval, shifted};
use super::event::Event;
use super::times::{Moment, read_text};

/// How many starts of one event are looked at.
const MAX_STARTS: usize = 50_000;
/// So many starts are expanded before the time is looked at again.
const STRIDE: usize = 256;
/// No clock is further from UTC.
const MAX_OFFSET: SignedDuration = SignedDuration::from_hours(26);
/// A rule is not longer in bytes: hundreds of parts are nobody's appointment.
const MAX_RULE: usize = 1_000;
/// How many times of one day a rule may name. The crate makes all of a step's starts before it gives the first.
const MAX_TIMES_OF_A_DAY: usize = 96;
const CLOCK: &str = "%Y%m%dT%H%M%S";

/// Starts that do not count: excepted, or moved.
#[derive(Debug, Default)]
pub(super) struct Exceptions {
    instants: HashSet<Timestamp>,
    /// Written as days: they take all starts of the day.
    days: HashSet<Date>,
}

impl Exceptions {
    pub(super) fn add(&mut self, moment: &Moment) {
        if moment.is_day {
            self.days.insert(moment.local.date());
        } else {
            self.instants.extend(moment.instant());
        }
    }

    pub(super) fn has(&self, start: &Moment) -> bool {
        self.days.contains(&start.local.date())
            || start.instant().is_some_and(|instant| self.instants.contains(&instant))
    }
}

/// What became of a recurrence.
#[derive(Debug)]
pub(super) enum Expansion {
    /// Every start that may bear on the window, exceptions included, and some that do not.
    Whole(Vec<Moment>),
    Unreadable,
    /// More starts, or more work, than is done for one event.
    TooMany,
    /// The time is up that all events may take.
    Spent,
}

/// Expands an event's rules; `left` counts what all events together may still be expanded to.
pub(super) fn expand(
    event: &Event,
    window: Interval,
    left: &mut usize,
    is_spent: &dyn Fn() -> bool,
) -> Expansion {
    let first = shifted(window.start, -MAX_OFFSET).checked_sub(event.length.longest());
    let first = first.unwrap_or(Timestamp::MIN);
    let last = shifted(window.end, MAX_OFFSET);
    // The start itself always counts, be it one of the rule or not.
    let mut starts = vec![event.start.clone()];
    for rule in &event.rules {
        if is_spent() {
            return Expansion::Spent;
        }
        let Some(rule) = Rule::read(rule, &event.start) else { return Expansion::Unreadable };
        match rule.starts(&event.start, first, last, left, is_spent) {
            Expansion::Whole(more) => starts.extend(more.into_iter().filter(|start| *start != event.start)),
            other @ (Expansion::Unreadable | Expansion::TooMany | Expansion::Spent) => return other,
        }
    }
    Expansion::Whole(starts)
}

/// A rule whose `UNTIL` is on the event's clock.
struct Rule {
    text: String,
    /// On the clock.
    until: Option<Timestamp>,
    count: Option<usize>,
    is_within_a_day: bool,
    /// Of it, more is to be expanded than is ever done.
    is_too_much: bool,
}

impl Rule {
    fn read(text: &str, start: &Moment) -> Option<Self> {
        let mut rule = Self {
            text: String::new(),
            until: None,
            count: None,
            is_within_a_day: false,
            is_too_much: text.len() > MAX_RULE,
        };
        let mut times_of_a_day = 1_usize;
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim().to_ascii_uppercase(), value.trim());
            match name.as_str() {
                "UNTIL" => rule.until = Some(read_until(value, start)?),
                "COUNT" => rule.count = Some(value.parse().ok()?),
                "FREQ" => {
                    let within = ["HOURLY", "MINUTELY", "SECONDLY"];
                    rule.is_within_a_day = within.iter().any(|freq| value.eq_ignore_ascii_case(freq));
                    rule.is_too_much |= rule.is_within_a_day && !value.eq_ignore_ascii_case("HOURLY");
                }
                "BYHOUR" | "BYMINUTE" | "BYSECOND" => {
                    times_of_a_day = times_of_a_day.saturating_mul(value.split(',').count());
                }
                _ => {}
            }
            // What all rules mean that do not say otherwise (RFC 7529).
            let is_usual = match name.as_str() {
                "RSCALE" => value.eq_ignore_ascii_case("GREGORIAN"),
                "SKIP" => value.eq_ignore_ascii_case("OMIT"),
                _ => false,
            };
            if name != "UNTIL" && !is_usual {
                rule.text.extend([&name, "=", &value.to_ascii_uppercase(), ";"]);
            }
        }
        rule.is_too_much |= times_of_a_day > MAX_TIMES_OF_A_DAY;
        if let Some(until) = rule.until {
            let until = Offset::UTC.to_datetime(until).strftime(CLOCK).to_string();
            rule.text.extend(["UNTIL=", &until, "Z"]);
        }
        Some(rule)
    }

    /// The starts from `first` to `last`, both on the clock.
    fn starts(
        &self,
        start: &Moment,
        first: Timestamp,
        last: Timestamp,
        left: &mut usize,
        is_spent: &dyn Fn() -> bool,
    ) -> Expansion {
        let Some(begin) = start.on_the_clock() else { return Expansion::Unreadable };
        if begin > last || self.until.is_some_and(|until| until < begin || until < first) {
            return Expansion::Whole(Vec::new());
        }
        if self.is_too_much {
            return Expansion::TooMany;
        }
        let text = format!("DTSTART:{}Z\nRRULE:{}", start.local.strftime(CLOCK), self.text);
        let Ok(set) = text.trim_end_matches(';').parse::<RRuleSet>() else { return Expansion::Unreadable };
        let mut starts = Vec::new();
        let mut seen = 0;
        // The limit ends a rule that finds nothing in very many steps, as 30 February.
        for found in &set.limit() {
            seen += 1;
            if seen % STRIDE == 0 && is_spent() {
                return Expansion::Spent;
            }
            if seen > MAX_STARTS || *left == 0 {
                return Expansion::TooMany;
            }
            *left -= 1;
            let Ok(at) = Timestamp::from_second(found.timestamp()) else { break };
            if at > last {
                return Expansion::Whole(starts);
            }
            if at >= first {
                starts.push(start.at(TimeZone::UTC.to_datetime(at)));
            }
        }
        // A rule within the day that has no more to give, though it neither has ended nor was counted out,
        // has met the limit.
        let is_counted_out = self.count.is_some_and(|count| count <= seen);
        let has_ended = self.until.is_some_and(|until| until < last);
        if self.is_within_a_day && !is_counted_out && !has_ended {
            return Expansion::TooMany;
        }
        Expansion::Whole(starts)
    }
}

/// On the event's clock. A day is meant with all its times.
fn read_until(text: &str, start: &Moment) -> Option<Timestamp> {
    let until = read_text(text, &start.zone).ok()?;
    let local: DateTime = if until.is_day {
        until.local.date().at(23, 59, 59, 0)
    } else if until.zone == start.zone {
        until.local
    } else {
        start.zone.to_datetime(until.instant()?)
    };
    Offset::UTC.to_timestamp(local).ok()
}
