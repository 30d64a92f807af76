//! The reading of what a server, and whoever writes to it, has made up.
//!
//! It is work without a known end: done on threads for such work, few at once, and where it panics it is the
//! answer that cannot be read.

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::error::CaldavError;
use super::multistatus::read_resources;
use crate::domain::calendar::{CalendarRules, Interval};
use crate::formats::icalendar::{EventReader, ParsedResource, first_uid};

/// How many answers are read at once.
const MAX_CONCURRENT_READS: usize = 4;
/// How long the events of one answer may take to be read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of the name of a resource is logged, in characters.
const MAX_HREF: usize = 200;

static PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_READS);

/// Does `work` where it holds up nobody else.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CaldavError> + Send + 'static,
) -> Result<T, CaldavError> {
    // A caller that is gone leaves the work under way: it keeps its place until it has ended.
    let permit = PERMITS.acquire().await.map_err(|_| CaldavError::Unreadable("nothing is read any more"))?;
    let result = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(permit);
        result
    });
    result.await.map_err(|_| CaldavError::Unreadable("it made the reader fail"))?
}

/// The events of a `calendar-query`'s answer.
pub(super) async fn read_events(
    body: impl AsRef<[u8]> + Send + 'static,
    rules: &CalendarRules,
    range: Interval,
    users: Vec<String>,
) -> Result<Vec<ParsedResource>, CaldavError> {
    let rules = rules.clone();
    run_blocking(move || {
        let began = Instant::now();
        let is_timed_out = || began.elapsed() > READ_TIMEOUT;
        let mut reader = EventReader::new(&rules, range, &users, &is_timed_out);
        let (mut events, mut warnings) = (Vec::new(), 0_usize);
        let mut first = None;
        for resource in read_resources(body.as_ref())? {
            let href = || resource.href.chars().take(MAX_HREF).collect::<String>();
            let read =
                reader.read(&resource.text).map_err(|error| CaldavError::Event { href: href(), error })?;
            warnings += read.warnings.len();
            if let (None, Some(warning)) = (&first, read.warnings.first()) {
                first = Some((href(), *warning));
            }
            events.push(read);
        }
        if let Some((href, warning)) = first {
            tracing::warn!(
                event.href = href,
                warning,
                warnings,
                "events of a calendar are not quite readable"
            );
        }
        Ok(events)
    })
    .await
}

/// Whether a text is the event with this UID, at this time.
pub(super) async fn is_event(
    text: String,
    uid: &str,
    time: Interval,
    rules: &CalendarRules,
) -> Result<bool, CaldavError> {
    let (uid, rules) = (uid.to_owned(), rules.clone());
    run_blocking(move || {
        let began = Instant::now();
        let read = EventReader::new(&rules, time, &[], &|| began.elapsed() > READ_TIMEOUT).read(&text);
        Ok(read.is_ok_and(|read| read.uid == uid && read.busy == [time]))
    })
    .await
}

/// Whether a text is an event with this UID.
pub(super) async fn has_uid(text: String, uid: &str) -> Result<bool, CaldavError> {
    let uid = uid.to_owned();
    run_blocking(move || Ok(first_uid(&text).is_some_and(|found| found == uid))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_panics_is_an_answer_that_cannot_be_read() {
        for _ in 0..=MAX_CONCURRENT_READS {
            let read: Result<(), CaldavError> = run_blocking(|| panic!("on purpose")).await;
            assert!(matches!(read, Err(CaldavError::Unreadable(_))));
        }
        assert!(run_blocking(|| Ok(())).await.is_ok(), "its place is free again");
    }
}
