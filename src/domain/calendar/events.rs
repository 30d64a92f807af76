//! When a calendar's events keep it busy: iCalendar texts (RFC 5545) as a CalDAV server keeps them, one
//! resource after another, read for a window of time.
//!
//! Recurring events are expanded in their own zone. A time is never invented to be free: an event whose length
//! or rule cannot be read, or be expanded within bounds, counts as busy from its start on; a resource with
//! an event whose start cannot be read is an error, and so is time that is up.

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
use event::{Event, is_busy, uid};
use recurrence::{Exceptions, Expansion, expand};
use times::Moment;
use zones::Zones;

use super::interval::Interval;
use super::rules::CalendarRules;

pub use written::{NewEvent, write_event};

/// How many recurrences all events of one reading may be expanded to.
const MAX_RECURRENCES: usize = 200_000;

const SPENT: &str = "reading the events takes too long";
const BEYOND: &str = "a time beyond what can be reckoned with";

/// Reads the resources of one calendar.
pub struct EventReader<'a> {
    rules: &'a CalendarRules,
    window: Interval,
    /// Whether the time is up that reading may take.
    is_spent: &'a dyn Fn() -> bool,
    left: usize,
}

/// One resource: an event, or what of it there is, and when it keeps the calendar busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadResource {
    /// Of its events; all of one resource have the same. Empty where it has none.
    pub uid: String,
    /// Within the window; in no order, and they may overlap.
    pub busy: Vec<Interval>,
    /// What could not be read, or was read with a guess: for the log. Holds no text of the event.
    pub faults: Vec<&'static str>,
}

impl<'a> EventReader<'a> {
    /// Events are read for `window`; what they leave to the reader is in the zone of `rules`. `is_spent` is
    /// asked again and again: once it is true, nothing more is read.
    pub fn new(rules: &'a CalendarRules, window: Interval, is_spent: &'a dyn Fn() -> bool) -> Self {
        Self { rules, window, is_spent, left: MAX_RECURRENCES }
    }

    /// Reads a resource. After an error it is not known when the calendar is busy.
    pub fn read(&mut self, text: &str) -> Result<ReadResource, &'static str> {
        self.check_time()?;
        let calendars = read_components(text)?;
        let zones = Zones::of(&calendars, &self.rules.zone);
        let mut resource = ReadResource { uid: String::new(), busy: Vec::new(), faults: Vec::new() };
        let mut events = Vec::new();
        for component in calendars.iter().flat_map(|calendar| calendar.children("VEVENT")) {
            self.check_time()?;
            if resource.uid.is_empty() {
                resource.uid = uid(component);
            }
            match Event::read(component, &zones, &mut resource.faults) {
                Ok(event) => events.push(event),
                Err(fault) if is_busy(component) => return Err(fault),
                Err(fault) => resource.faults.push(fault),
            }
        }
        let mut moved: HashMap<&str, Exceptions> = HashMap::new();
        for event in &events {
            if let Some(instance) = &event.instance_of {
                moved.entry(&event.uid).or_default().add(instance);
            }
        }
        let none = Exceptions::default();
        for event in events.iter().filter(|event| event.is_busy) {
            self.add_times(event, moved.get(event.uid.as_str()).unwrap_or(&none), &mut resource)?;
        }
        Ok(resource)
    }

    fn check_time(&self) -> Result<(), &'static str> {
        if (self.is_spent)() { Err(SPENT) } else { Ok(()) }
    }

    fn add_times(
        &mut self,
        event: &Event,
        moved: &Exceptions,
        resource: &mut ReadResource,
    ) -> Result<(), &'static str> {
        let mut times = Vec::new();
        let mut endless = event.unreadable;
        if event.instance_of.is_some() || !event.recurs() {
            times.push(event.length.from(&event.start));
        } else {
            let counts = |start: &Moment| !event.exceptions.has(start) && !moved.has(start);
            match expand(event, self.window, &mut self.left, self.is_spent) {
                Expansion::Whole(starts) => {
                    let starts = starts.iter().filter(|start| counts(start));
                    times.extend(starts.map(|start| event.length.from(start)));
                }
                Expansion::Unreadable => endless = Some("a recurrence rule that cannot be read"),
                Expansion::TooMany => endless = Some("a recurrence that is too long to expand"),
                Expansion::Spent => return Err(SPENT),
            }
            let dates = event.dates.iter().filter(|(start, _)| counts(start));
            times.extend(dates.map(|(start, length)| length.as_ref().unwrap_or(&event.length).from(start)));
        }
        if let Some(fault) = endless {
            resource.faults.push(fault);
            let start = event.start.instant().ok_or(BEYOND)?.max(self.window.start);
            times = vec![Some(Interval { start, end: self.window.end })];
        }
        for time in times {
            match time {
                // One that takes no time is not busy.
                Some(time) if time.start >= time.end => {}
                Some(time) if time.start < self.window.end && self.window.start < time.end => {
                    resource.busy.push(time);
                }
                Some(_) => {}
                None => resource.faults.push(BEYOND),
            }
        }
        Ok(())
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
    events.next().map(uid)
}
