//! The latest events of a workspace's feed, read once for all followers that are close to its end.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::error::Error;
use crate::domain::event::{Event, EventFilter, EventType};
use crate::domain::ids::WorkspaceId;
use crate::service::Services;
use crate::service::read_events::{EventPage, read};
use crate::store::ReadLimit;

/// How many events are cached.
pub(super) const MAX_EVENTS: i64 = 256;
/// The maximum size of their bodies, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// How much one read returns at most.
const READ_LIMIT: ReadLimit = ReadLimit { rows: 128, bytes: 1 << 20 };

/// The cached events: those after `from`, up to `to`.
#[derive(Debug)]
pub(super) struct FeedCache {
    from: i64,
    to: i64,
    bytes: usize,
    events: VecDeque<Arc<Event>>,
}

impl Default for FeedCache {
    /// Empty and before every cursor; the first reader resets it.
    fn default() -> Self {
        Self { from: -1, to: -1, bytes: 0, events: VecDeque::new() }
    }
}

impl FeedCache {
    pub(super) fn to(&self) -> i64 {
        self.to
    }

    /// Resets the cache if a reader is ahead of it.
    pub(super) fn fast_forward(&mut self, cursor: i64) {
        if cursor > self.to {
            *self = Self { from: cursor, to: cursor, ..Self::default() };
        }
    }

    /// Whether it has all events between a cursor and `to`.
    pub(super) fn covers(&self, cursor: i64) -> bool {
        cursor >= self.from
    }

    /// Reads the events after the cached ones, to be appended.
    pub(super) async fn read(&self, services: &Services, workspace: WorkspaceId) -> Result<EventPage, Error> {
        read(services, workspace, self.to, &EventFilter::default(), READ_LIMIT).await
    }

    /// Appends events that were read, and evicts the oldest if there are too many.
    pub(super) fn append(&mut self, mut page: EventPage) {
        let deletions = page.events.iter().filter(|event| event.kind == EventType::ConversationDeleted);
        let deleted: Vec<_> = deletions.map(|event| event.conversation).collect();
        if !deleted.is_empty() {
            // Events that were read before still have the deleted `data`, and so may those before the deletion in this page.
            let others = page.events.iter().filter(|event| event.kind != EventType::ConversationDeleted);
            let outdated = others.filter(|event| deleted.contains(&event.conversation));
            let from = outdated.map(|event| event.cursor).max().unwrap_or(self.to);
            page.events.retain(|event| event.cursor > from);
            *self = Self { from, to: self.to, ..Self::default() };
        }
        self.bytes += page.events.iter().map(|event| event.body.len()).sum::<usize>();
        self.events.extend(page.events);
        self.to = page.next;
        while self.bytes > MAX_BYTES || i64::try_from(self.events.len()).is_ok_and(|count| count > MAX_EVENTS)
        {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.body.len();
            self.from = oldest.cursor;
        }
    }

    /// The first matching events after a cursor. `None` if the events after it are not cached or were evicted.
    pub(super) fn after(&self, cursor: i64, filter: &EventFilter, limit: ReadLimit) -> Option<EventPage> {
        if !self.covers(cursor) {
            return None;
        }
        let (mut events, mut bytes, mut next) = (Vec::new(), 0, self.to);
        for event in self.events.iter().filter(|event| event.cursor > cursor && filter.matches(event)) {
            bytes += to_i64(event.body.len());
            if !events.is_empty() && (to_i64(events.len()) >= limit.rows || bytes > limit.bytes) {
                next = events.last().map_or(next, |last: &Arc<Event>| last.cursor);
                break;
            }
            events.push(Arc::clone(event));
        }
        Some(EventPage { events, next })
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Micros;
    use crate::domain::ids::EventId;

    fn page(cursors: impl IntoIterator<Item = i64>, kind: EventType, bytes: usize) -> EventPage {
        let event = |cursor| Event {
            workspace: WorkspaceId(Uuid::nil()),
            cursor,
            id: EventId(Uuid::nil()),
            kind,
            conversation: None,
            body: "x".repeat(bytes),
            created_at: Micros(0),
        };
        let events: Vec<_> = cursors.into_iter().map(event).map(Arc::new).collect();
        let next = events.last().unwrap().cursor;
        EventPage { events, next }
    }

    fn rows(rows: i64) -> ReadLimit {
        ReadLimit { rows, bytes: i64::MAX }
    }

    fn cursors(page: &EventPage) -> Vec<i64> {
        page.events.iter().map(|event| event.cursor).collect()
    }

    #[test]
    fn readers_are_served_what_follows_their_cursor_and_passes_their_filter() {
        let mut cache = FeedCache::default();
        cache.fast_forward(10);
        cache.append(page(11..=13, EventType::MessageCreated, 1));
        cache.append(page([14], EventType::ReplyFailed, 1));

        let all = cache.after(11, &EventFilter::default(), rows(2)).unwrap();
        let failed = EventFilter { types: vec![EventType::ReplyFailed], conversation: None };

        assert_eq!((cursors(&all), all.next), (vec![12, 13], 13));
        assert_eq!(cursors(&cache.after(10, &failed, rows(9)).unwrap()), [14]);
        assert_eq!(cache.after(14, &failed, rows(9)), Some(EventPage { events: Vec::new(), next: 14 }));
        assert_eq!(cache.after(9, &failed, rows(9)), None, "its reader asks the store");
        cache.fast_forward(12);
        assert!(cache.covers(10), "who is behind changes nothing");
        cache.fast_forward(20);
        assert_eq!((cache.to(), cache.covers(19)), (20, false), "who is ahead begins anew");
    }

    #[test]
    fn a_page_that_is_cut_by_bytes_goes_on_where_it_ends() {
        let mut cache = FeedCache::default();
        cache.fast_forward(0);
        cache.append(page(1..=5, EventType::MessageCreated, 100));

        let mut read = Vec::new();
        let (mut cursor, mut limit) = (0, ReadLimit { rows: 9, bytes: 250 });
        while cursor < 5 {
            let page = cache.after(cursor, &EventFilter::default(), limit).unwrap();
            read.push(cursors(&page));
            cursor = page.next;
        }

        assert_eq!(read, [vec![1, 2], vec![3, 4], vec![5]]);
        limit.bytes = 1;
        let first = cache.after(0, &EventFilter::default(), limit).unwrap();
        assert_eq!((cursors(&first), first.next), (vec![1], 1), "there is always one");
    }

    #[test]
    fn evicted_events_are_not_skipped() {
        let mut cache = FeedCache::default();
        cache.fast_forward(0);

        cache.append(page(1..=MAX_EVENTS + 5, EventType::MessageCreated, 1));
        assert!(!cache.covers(4) && cache.covers(5));
        cache.append(page([MAX_EVENTS + 6], EventType::MessageCreated, MAX_BYTES + 1));

        assert_eq!(cache.after(MAX_EVENTS + 5, &EventFilter::default(), rows(9)), None, "nothing of it fits");
        assert_eq!(
            cache.after(MAX_EVENTS + 6, &EventFilter::default(), rows(9)).unwrap().next,
            MAX_EVENTS + 6
        );
    }

    #[test]
    fn a_deletion_makes_it_forget_what_came_before() {
        let mut cache = FeedCache::default();
        cache.fast_forward(0);
        cache.append(page(1..=3, EventType::MessageCreated, 1));

        cache.append(page([4], EventType::ConversationDeleted, 1));

        assert_eq!(cache.after(2, &EventFilter::default(), rows(9)), None);
        assert_eq!(cursors(&cache.after(3, &EventFilter::default(), rows(9)).unwrap()), [4]);
        let mut both = page([5, 6], EventType::MessageCreated, 1);
        both.events.extend(page([7], EventType::ConversationDeleted, 1).events);
        both.next = 7;
        cache.append(both);
        assert_eq!(cache.after(5, &EventFilter::default(), rows(9)), None);
        assert_eq!(cursors(&cache.after(6, &EventFilter::default(), rows(9)).unwrap()), [7]);
    }
}
