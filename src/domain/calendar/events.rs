//! When a calendar's events keep it busy: iCalendar texts (RFC 5545) as a CalDAV server keeps them, one
//! resource after another, read for a window of time.
//!
//! Recurring events are expanded in their own zone. What cannot be read is left out and said; what cannot
//! be expanded within bounds counts as busy for the whole window, for a time is never invented to be free.

mod component;
mod event;
mod recurrence;
mod times;
mod windows_zones;
mod written;
mod zones;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use component::read_components;
use event::Event;
use recurrence::{Exceptions, Expansion, expand};
use times::Moment;
use zones::Zones;

use super::interval::Interval;
use super::rules::CalendarRules;

pub use written::{NewEvent, write_event};

/// How many recurrences all events of one reading may be expanded to.
const MAX_RECURRENCES: usize = 200_000;

/// Reads the resources of one calendar.
pub struct EventReader<'a> {
    rules: &'a CalendarRules,
    window: Interval,
    /// Whether the time is up that expanding may take.
    is_spent: &'a dyn Fn() -> bool,
    left: usize,
}

/// One resource: an event, or what of it there is, and when it keeps the calendar busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadResource {
    /// Of its events; all of one resource have the same.
    pub uid: String,
    /// Within the window; in no order, and they may overlap.
    pub busy: Vec<Interval>,
    /// What could not be read, or was read with a guess: for the log. Holds no text of the event.
    pub faults: Vec<&'static str>,
}

impl<'a> EventReader<'a> {
    /// Events are read for `window`; what they leave to the reader is in the zone of `rules`. `is_spent` is
    /// asked again and again: once it is true, nothing more is expanded.
    pub fn new(rules: &'a CalendarRules, window: Interval, is_spent: &'a dyn Fn() -> bool) -> Self {
        Self { rules, window, is_spent, left: MAX_RECURRENCES }
    }

    /// Reads a resource. The error is one that leaves nothing to be read.
    pub fn read(&mut self, text: &str) -> Result<ReadResource, &'static str> {
        let calendars = read_components(text)?;
        let zones = Zones::of(&calendars, &self.rules.zone);
        let mut faults = Vec::new();
        let mut events = Vec::new();
        for component in calendars.iter().flat_map(|calendar| calendar.children("VEVENT")) {
            match Event::read(component, &zones, &mut faults) {
                Ok(event) => events.push(event),
                Err(fault) => faults.push(fault),
            }
        }
        let Some(uid) = events.first().map(|event| event.uid.clone()) else {
            return Err(faults.first().copied().unwrap_or("it holds no event"));
        };
        let mut moved: HashMap<&str, Exceptions> = HashMap::new();
        for event in &events {
            if let Some(instance) = &event.instance_of {
                moved.entry(&event.uid).or_default().add(instance);
            }
        }
        let none = Exceptions::default();
        let mut busy = Vec::new();
        for event in events.iter().filter(|event| event.is_busy) {
            self.add_times(event, moved.get(event.uid.as_str()).unwrap_or(&none), &mut busy, &mut faults);
        }
        Ok(ReadResource { uid, busy, faults })
    }

    fn add_times(
        &mut self,
        event: &Event,
        moved: &Exceptions,
        busy: &mut Vec<Interval>,
        faults: &mut Vec<&'static str>,
    ) {
        let mut times = Vec::new();
        if event.instance_of.is_some() || !event.recurs() {
            times.push(event.length.from(&event.start));
        } else {
            let counts = |start: &Moment| !event.exceptions.has(start) && !moved.has(start);
            match expand(event, self.window, &mut self.left, self.is_spent) {
                Expansion::Whole(starts) => {
                    let starts = starts.iter().filter(|start| counts(start));
                    times.extend(starts.map(|start| event.length.from(start)));
                }
                Expansion::Unreadable => {
                    faults.push("a recurrence rule that cannot be read: its first time alone counts");
                    times.push(event.length.from(&event.start));
                }
                Expansion::TooMany => {
                    faults.push("a recurrence that is too long to expand: it counts as busy throughout");
                    times.push(Some(self.window));
                }
            }
            let dates = event.dates.iter().filter(|(start, _)| counts(start));
            times.extend(dates.map(|(start, length)| length.as_ref().unwrap_or(&event.length).from(start)));
        }
        for time in times {
            match time {
                Some(time) if time.start < self.window.end && self.window.start < time.end => busy.push(time),
                Some(_) => {}
                None => faults.push("a time beyond what can be reckoned with"),
            }
        }
    }
}

impl std::fmt::Debug for EventReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventReader").field("window", &self.window).finish_non_exhaustive()
    }
}

/// The UID of a resource's first event, where one can be read.
pub fn uid_of(text: &str) -> Option<String> {
    let calendars = read_components(text).ok()?;
    let mut events = calendars.iter().flat_map(|calendar| calendar.children("VEVENT"));
    events.next()?.value("UID").map(str::to_owned)
}
