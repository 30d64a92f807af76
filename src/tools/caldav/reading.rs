//! The reading of what a server, and whoever writes to it, has made up.
//!
//! It is work without a known end: done on threads for such work, few at once, and where it panics it is the
//! answer that cannot be read.

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::fault::Fault;
use super::multistatus::read_resources;
use crate::domain::calendar::{CalendarRules, EventReader, Interval, ReadResource, uid_of};

/// How many answers are read at once.
const AT_ONCE: usize = 4;
/// How long the events of one answer may take to be read.
const READING: Duration = Duration::from_secs(2);
/// How much of the name of a resource is logged, in characters.
const MAX_HREF: usize = 200;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Does `work` where it holds up nobody else.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    // A caller that is gone leaves the work under way: it keeps its place until it has ended.
    let place = PLACES.acquire().await.map_err(|_| Fault::Unreadable("nothing is read any more"))?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    done.await.map_err(|_| Fault::Unreadable("it made the reader fail"))?
}

/// The events of a `calendar-query`'s answer.
pub(super) async fn read_events(
    body: impl AsRef<[u8]> + Send + 'static,
    rules: &CalendarRules,
    range: Interval,
) -> Result<Vec<ReadResource>, Fault> {
    let rules = rules.clone();
    aside(move || {
        let began = Instant::now();
        let is_spent = || began.elapsed() > READING;
        let mut reader = EventReader::new(&rules, range, &is_spent);
        let (mut events, mut faults) = (Vec::new(), 0_usize);
        let mut first = None;
        for resource in read_resources(body.as_ref())? {
            let href = || resource.href.chars().take(MAX_HREF).collect::<String>();
            let read = reader.read(&resource.text).map_err(|fault| Fault::Event { href: href(), fault })?;
            faults += read.faults.len();
            if let (None, Some(fault)) = (&first, read.faults.first()) {
                first = Some((href(), *fault));
            }
            events.push(read);
        }
        if let Some((href, fault)) = first {
            tracing::warn!(event.href = href, fault, faults, "events of a calendar are not quite readable");
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
) -> Result<bool, Fault> {
    let (uid, rules) = (uid.to_owned(), rules.clone());
    aside(move || {
        let began = Instant::now();
        let read = EventReader::new(&rules, time, &|| began.elapsed() > READING).read(&text);
        Ok(read.is_ok_and(|read| read.uid == uid && read.busy == [time]))
    })
    .await
}

/// Whether a text is an event with this UID.
pub(super) async fn has_uid(text: String, uid: &str) -> Result<bool, Fault> {
    let uid = uid.to_owned();
    aside(move || Ok(uid_of(&text).is_some_and(|found| found == uid))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_panics_is_an_answer_that_cannot_be_read() {
        for _ in 0..=AT_ONCE {
            let read: Result<(), Fault> = aside(|| panic!("on purpose")).await;
            assert!(matches!(read, Err(Fault::Unreadable(_))));
        }
        assert!(aside(|| Ok(())).await.is_ok(), "its place is free again");
    }
}
