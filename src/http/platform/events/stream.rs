//! The feed as server-sent events. The body is made as the client takes it: a reader that is slow
//! holds no more than the events of one read, and one that stalls is cut off (`http::server::stalled_reader`).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use super::query;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{QueryParams, Read};
use crate::http::openapi::{FeedErrors, ReadErrors, TooManyReaders};
use crate::http::platform::wire::StreamQuery;
use crate::http::state::AppState;
use crate::service::Services;
use crate::service::follow_events::{Follower, follow};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps nginx from gathering what is to arrive at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Sent where nothing else was for so long: proxies drop what is silent for a minute.
const PING: Duration = Duration::from_secs(10);
/// How long a client waits before it comes back.
const RETRY: Duration = Duration::from_secs(2);
/// How long to wait where the store could not be asked.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Events of one read.
const BATCH_SIZE: usize = 64;

/// Follow events as they become true, as server-sent events: `id` is the cursor, `event` the type, `data` the event.
#[utoipa::path(
    get, path = "/events/stream", tag = "platform", operation_id = "streamEvents", security(("bearer" = [])),
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header, description = "Where to go on: the last `id` that was seen. Wins over `after`")),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "Events without end, with a comment at least every 15 s; ends where the server stops, and where the key is revoked",
            example = "id: 42\nevent: message.created\ndata: {\"id\":\"evt_01k9z3x8f5e4r9t2m6q7w8y0ab\",…}\n\n",
        ),
        ReadErrors, FeedErrors, TooManyReaders,
    ),
)]
pub(in crate::http::platform) async fn stream(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<StreamQuery, Platform>,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    // A client that has seen no event yet may send it empty.
    let last = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
    let feed_query =
        query::feed_query(query.after.as_deref(), last, query.types.as_deref(), query.conversation_id)?;
    let follower = follow(&state.services, &account, &feed_query).await?;
    let mut response = Sse::new(sse_events(state.services, follower)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// A stream under way.
struct EventStream {
    services: Services,
    follower: Follower,
    has_begun: bool,
    /// Read, and not yet taken by the client.
    events: VecDeque<Arc<Event>>,
    /// The last cursor that the client knows.
    last_sent: i64,
    next_ping: Instant,
}

fn sse_events(
    services: Services,
    follower: Follower,
) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    let last_sent = follower.cursor();
    let next_ping = Instant::now() + PING;
    let initial =
        EventStream { services, follower, has_begun: false, events: VecDeque::new(), last_sent, next_ping };
    futures::stream::unfold(initial, async |mut state| {
        let sse_event = state.next().await?;
        state.next_ping = Instant::now() + PING;
        Some((Ok(sse_event), state))
    })
}

/// A body without line breaks, which JSON has between its values only: not every client puts a frame
/// of several lines together.
fn one_line(body: &str) -> Cow<'_, str> {
    if body.contains(['\r', '\n']) { body.replace(['\r', '\n'], " ").into() } else { body.into() }
}

impl EventStream {
    /// The next thing to send, once there is one; none where the stream ends.
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.has_begun {
            self.has_begun = true;
            return Some(sse::Event::default().retry(RETRY).comment("the events follow"));
        }
        // What was read before its key was revoked is not for it any more.
        while !self.follower.has_ended() {
            if let Some(event) = self.events.pop_front() {
                self.last_sent = event.cursor;
                let sse_event = sse::Event::default().id(event.cursor.to_string()).event(event.kind.as_str());
                return Some(sse_event.data(one_line(&event.body)));
            }
            match tokio::time::timeout_at(self.next_ping, self.read()).await {
                Ok(events) => self.events = events?.into(),
                Err(_) => return Some(self.ping()),
            }
        }
        None
    }

    /// What follows; nothing, after a pause, where the store is away. None where the stream ends.
    async fn read(&mut self) -> Option<Vec<Arc<Event>>> {
        match self.follower.next(&self.services, BATCH_SIZE).await {
            Ok(events) => events,
            // It has fallen behind what is kept, and is told so when it comes back.
            Err(Error::CursorExpired { .. }) => None,
            Err(_) => {
                self.follower.pause(STORE_RETRY_DELAY).await;
                Some(Vec::new())
            }
        }
    }

    /// A comment; with the cursor where events went by that were not wanted, so that a client that
    /// comes back does not begin at the last one that it got.
    fn ping(&mut self) -> sse::Event {
        let ping = sse::Event::default().comment("ping");
        let cursor = self.follower.cursor();
        if cursor == self.last_sent {
            return ping;
        }
        self.last_sent = cursor;
        ping.id(cursor.to_string())
    }
}
