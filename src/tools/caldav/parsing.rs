//! What the text of a server says.

use std::time::{Duration, Instant};

use super::error::CaldavError;
use super::multistatus::read_resources;
use crate::domain::calendar::{CalendarRules, Interval};
use crate::formats::icalendar::{EventReader, ParsedResource, first_uid};

/// How long the events of one answer may take to be read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of the name of an event is logged, in characters.
const MAX_NAME: usize = 200;

/// The events of a `calendar-query`'s answer.
pub(super) fn read_events(
    body: &[u8],
    rules: &CalendarRules,
    range: Interval,
    users: &[String],
) -> Result<Vec<ParsedResource>, CaldavError> {
    let began = Instant::now();
    let is_timed_out = || began.elapsed() > READ_TIMEOUT;
    let mut reader = EventReader::new(rules, range, users, &is_timed_out);
    let (mut events, mut warnings) = (Vec::new(), 0_usize);
    let mut first = None;
    for resource in read_resources(body)? {
        let name = || event_name(&resource.href);
        let read = reader.read(&resource.text).map_err(|error| CaldavError::Event { name: name(), error })?;
        warnings += read.warnings.len();
        if let (None, Some(warning)) = (&first, read.warnings.first()) {
            first = Some((name(), *warning));
        }
        events.push(read);
    }
    if let Some((name, warning)) = first {
        tracing::warn!(event.name = name, warning, warnings, "events of a calendar are not quite readable");
    }
    Ok(events)
}

/// The last part of the address of an event. The path before it may contain an e-mail address, which no log is to have.
fn event_name(href: &str) -> String {
    href.rsplit('/').next().unwrap_or_default().chars().take(MAX_NAME).collect()
}

/// Whether a text is the event with this UID, at this time.
pub(super) fn is_event(text: &str, uid: &str, time: Interval, rules: &CalendarRules) -> bool {
    let began = Instant::now();
    let read = EventReader::new(rules, time, &[], &|| began.elapsed() > READ_TIMEOUT).read(text);
    read.is_ok_and(|read| read.uid == uid && read.busy == [time])
}

/// Whether a text is an event with this UID.
pub(super) fn has_uid(text: &str, uid: &str) -> bool {
    first_uid(text).is_some_and(|found| found == uid)
}
