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
mod zone_definition;
mod zones;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use component::read_components;
pub use event::user_address;
use event::{Event, is_busy, uid};
use recurrence::{Exceptions, Expansion, expand};
use times::EventTime;
use zone_definition::ZoneDefinitions;
use zones::Zones;

use crate::domain::calendar::{CalendarRules, Interval};

/// How many recurrences all events of one reading may be expanded to.
const MAX_RECURRENCES: usize = 200_000;

const TIMED_OUT: &str = "reading the events takes too long";
const OUT_OF_RANGE: &str = "a time beyond what can be reckoned with";

/// Reads the resources of one calendar.
pub struct EventReader<'a> {
    rules: &'a CalendarRules,
    window: Interval,
    /// As of [`user_address`].
    users: &'a [String],
    definitions: ZoneDefinitions,
    /// Returns true once reading has taken too long.
    is_timed_out: &'a dyn Fn() -> bool,
    remaining: usize,
}

/// One resource: an event with its overrides, and the times at which it is busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedResource {
    /// The UID that all its events share; empty if there is none.
    pub uid: String,
    /// Within the window; in no order, and they may overlap.
    pub busy: Vec<Interval>,
    /// Parts that were unreadable or guessed, for the log. They contain no text of the event.
    pub warnings: Vec<&'static str>,
}

impl<'a> EventReader<'a> {
    /// Events are read for `window`; what they leave to the reader is in the zone of `rules`. Those that one of
    /// `users` (addresses as of [`user_address`]) has declined are free. `is_timed_out` is asked again and again:
    /// once it is true, nothing more is read.
    pub fn new(
        rules: &'a CalendarRules,
        window: Interval,
        users: &'a [String],
        is_timed_out: &'a dyn Fn() -> bool,
    ) -> Self {
        let definitions = ZoneDefinitions::until(window.end);
        Self { rules, window, users, definitions, is_timed_out, remaining: MAX_RECURRENCES }
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// The calendar's busy times are unknown: the caller must not offer any slot.
    pub fn read(&mut self, text: &str) -> Result<ParsedResource, &'static str> {
        self.check_timeout()?;
        let calendars = read_components(text)?;
        let zones = Zones::new(&calendars, self.rules.zone(), &mut self.definitions, self.is_timed_out);
        let mut resource = ParsedResource { uid: String::new(), busy: Vec::new(), warnings: Vec::new() };
        let mut events = Vec::new();
        for component in calendars.iter().flat_map(|calendar| calendar.children("VEVENT")) {
            self.check_timeout()?;
            if resource.uid.is_empty() {
                resource.uid = uid(component);
            }
            match Event::read(component, &zones, self.users, &mut resource.warnings) {
                Ok(event) => events.push(event),
                Err(reason) if is_busy(component, self.users) => return Err(reason),
                Err(reason) => resource.warnings.push(reason),
            }
        }
        let mut overrides: HashMap<&str, Exceptions> = HashMap::new();
        for event in &events {
            if let Some(instance) = &event.recurrence_id {
                overrides.entry(&event.uid).or_default().add(instance);
            }
        }
        let none = Exceptions::default();
        for event in events.iter().filter(|event| event.is_busy) {
            self.add_times(event, overrides.get(event.uid.as_str()).unwrap_or(&none), &mut resource)?;
        }
        Ok(resource)
    }

    fn check_timeout(&self) -> Result<(), &'static str> {
        if (self.is_timed_out)() { Err(TIMED_OUT) } else { Ok(()) }
    }

    fn add_times(
        &mut self,
        event: &Event,
        overrides: &Exceptions,
        resource: &mut ParsedResource,
    ) -> Result<(), &'static str> {
        let mut times = Vec::new();
        let mut endless = event.unreadable;
        if event.recurrence_id.is_some() || !event.recurs() {
            times.push(event.length.interval_from(&event.start));
        } else {
            let counts = |start: &EventTime| !event.exceptions.contains(start) && !overrides.contains(start);
            match expand(event, self.window, &mut self.remaining, self.is_timed_out) {
                Expansion::Complete(starts) => {
                    let starts = starts.iter().filter(|start| counts(start));
                    times.extend(starts.map(|start| event.length.interval_from(start)));
                }
                Expansion::Unreadable => endless = Some("a recurrence rule that cannot be read"),
                Expansion::TooMany => endless = Some("a recurrence that is too long to expand"),
                Expansion::TimedOut => return Err(TIMED_OUT),
            }
            let dates = event.dates.iter().filter(|(start, _)| counts(start));
            times.extend(
                dates.map(|(start, length)| length.as_ref().unwrap_or(&event.length).interval_from(start)),
            );
        }
        if let Some(reason) = endless {
            resource.warnings.push(reason);
            let start = event.start.earliest().ok_or(OUT_OF_RANGE)?.max(self.window.start);
            times = vec![Some(Interval { start, end: self.window.end })];
        }
        for time in times {
            match time {
                // A time of zero length is not busy.
                Some(time) if time.start >= time.end => {}
                Some(time) if time.start < self.window.end && self.window.start < time.end => {
                    resource.busy.push(time);
                }
                Some(_) => {}
                None => resource.warnings.push(OUT_OF_RANGE),
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
pub fn first_uid(text: &str) -> Option<String> {
    let calendars = read_components(text).ok()?;
    let mut events = calendars.iter().flat_map(|calendar| calendar.children("VEVENT"));
    events.next().map(uid)
}
