//! Parsing of the queries of the feed.

use std::time::Duration;

use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::service::read_events::{FeedQuery, StartPosition};

/// The longest wait of a long poll, in seconds.
const MAX_WAIT_SECONDS: u64 = 60;

/// The query of the feed. `last_event_id`, the header of a stream that is resumed, takes precedence over `after`.
pub(super) fn feed_query(
    after: Option<&str>,
    last_event_id: Option<&str>,
    types: Option<&str>,
    conversation: Option<String>,
) -> Result<FeedQuery, Error> {
    let (after_source, text) = match last_event_id {
        Some(id) => ("Header 'Last-Event-ID'", Some(id)),
        None => ("Field 'after'", after),
    };
    Ok(FeedQuery {
        after: position(after_source, text)?,
        after_source,
        types: types.map_or(Ok(Vec::new()), event_types)?,
        conversation,
    })
}

fn position(source: &'static str, text: Option<&str>) -> Result<StartPosition, Error> {
    let Some(text) = text else { return Ok(StartPosition::Oldest) };
    if text == "latest" {
        return Ok(StartPosition::Latest);
    }
    let cursor = text.parse().ok().map(StartPosition::Cursor);
    let position = cursor.or_else(|| text.parse().ok().map(StartPosition::Event));
    position.ok_or_else(|| {
        let text = format!("{source} must be a cursor of this list, the id of an event, or 'latest'.");
        Error::invalid("after", text)
    })
}

fn event_types(text: &str) -> Result<Vec<EventType>, Error> {
    let types: Result<Vec<EventType>, _> = text.split(',').map(|word| word.trim().parse()).collect();
    let mut types = types.map_err(|_| {
        let all: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        Error::invalid("types", format!("Field 'types' must be a list of: {}.", all.join(", ")))
    })?;
    types.sort_unstable_by_key(|kind| kind.as_str());
    types.dedup();
    Ok(types)
}

/// The time to wait for the first event.
pub(super) fn wait(text: Option<&str>) -> Result<Duration, Error> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let seconds = text.parse().ok().filter(|seconds| *seconds <= MAX_WAIT_SECONDS).map(Duration::from_secs);
    seconds.ok_or_else(|| Error::invalid("wait", "Field 'wait' must be a number of seconds from 0 to 60."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventCursor;

    #[test]
    fn a_position_is_a_cursor_an_event_or_latest() {
        let id = "evt_00000000000000000000000001";

        assert_eq!(position("", None).unwrap(), StartPosition::Oldest);
        assert_eq!(position("", Some("latest")).unwrap(), StartPosition::Latest);
        let cursor = |epoch, number| StartPosition::Cursor(EventCursor { epoch, number });
        assert_eq!(position("", Some("42")).unwrap(), cursor(0, 42));
        assert_eq!(position("", Some("7-42")).unwrap(), cursor(7, 42));
        assert_eq!(position("", Some(id)).unwrap(), StartPosition::Event(id.parse().unwrap()));
        for garbage in
            ["", "-1", "+1", "1 ", "oldest", "evt_", "msg_00000000000000000000000001", "9223372036854775808"]
        {
            let error = position("Field 'after'", Some(garbage)).unwrap_err().to_string();
            assert!(error.starts_with("Field 'after' must be a cursor"), "{garbage}: {error}");
        }
    }

    #[test]
    fn the_header_of_a_resumed_stream_wins_over_the_query() {
        let feed_query =
            feed_query(Some("1"), Some("7"), Some("reply.failed, message.created,reply.failed"), None)
                .unwrap();

        assert_eq!(
            (feed_query.after, feed_query.after_source),
            (StartPosition::Cursor(EventCursor { epoch: 0, number: 7 }), "Header 'Last-Event-ID'")
        );
        assert_eq!(feed_query.types, [EventType::MessageCreated, EventType::ReplyFailed]);
    }

    #[test]
    fn an_unknown_type_is_answered_with_the_known_types() {
        for text in ["", "message", "message.created,", "message.created;reply.failed"] {
            let error = feed_query(None, None, Some(text), None).unwrap_err().to_string();
            assert!(error.starts_with("Field 'types' must be a list of: conversation.created, "), "{error}");
        }
    }

    #[test]
    fn a_wait_is_at_most_a_minute() {
        assert_eq!(wait(None).unwrap(), Duration::ZERO);
        assert_eq!(wait(Some("60")).unwrap(), Duration::from_mins(1));
        for text in ["61", "-1", "1.5", "x", ""] {
            assert!(wait(Some(text)).is_err(), "{text}");
        }
    }
}
