//! The feed as server-sent events. The body is produced as the client reads it: a slow client keeps at most the events of one
//! read in memory, and a stalled one is disconnected (`http::server::response_body`).

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
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::{FeedErrors, query};
use crate::domain::error::Error;
use crate::domain::event::{Event, EventCursor};
use crate::domain::ids::ConversationId;
use crate::domain::schema::{EventPosition, EventTypeList};
use crate::http::describe::WorkspaceSuspended;
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{QueryParams, Read};
use crate::http::platform::ReadErrors;
use crate::http::response::X_ACCEL_BUFFERING;
use crate::http::state::AppState;
use crate::service::Services;
use crate::service::follow_events::{Follower, follow};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The interval of pings on a quiet stream; proxies close connections that are silent for a minute.
const PING: Duration = Duration::from_secs(10);
/// The delay after which a client reconnects.
const RETRY: Duration = Duration::from_secs(2);
/// The delay before the next read after the database was unavailable.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The query of the event stream. The header `Last-Event-ID` takes precedence over `after`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http::platform) struct StreamQuery {
    /// The position to start after: a cursor, the id of an event, or `latest` for new events only. By default, the oldest stored event.
    #[param(inline, value_type = Option<EventPosition>)]
    after: Option<String>,
    /// Only these types, separated by commas.
    #[param(inline, value_type = Option<EventTypeList>, example = "message.created,reply.failed")]
    types: Option<String>,
    /// Only events of this conversation.
    #[param(inline, value_type = Option<ConversationId>)]
    conversation_id: Option<String>,
}

/// Follow new events.
///
/// The response is a stream of server-sent events: `id` is the cursor, `event` the type, `data` the event.
#[utoipa::path(
    get, path = "/events/stream", tag = "platform", operation_id = "streamEvents", security(("bearer" = ["read"])),
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header, description = "The last `id` that the client received. Takes precedence over `after`")),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "An endless stream of events, with a comment at least every 10 s. The stream ends when the server stops or the key is revoked",
            example = "id: 42\nevent: message.created\ndata: {\"id\":\"evt_01k9z3x8f5e4r9t2m6q7w8y0ab\",…}\n\n",
        ),
        ReadErrors<(FeedErrors, WorkspaceSuspended)>,
    ),
)]
pub(in crate::http::platform) async fn stream(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    // A client that has received no event yet may send an empty value.
    let last = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
    let feed_query =
        query::feed_query(query.after.as_deref(), last, query.types.as_deref(), query.conversation_id)?;
    let follower = follow(&state.services, &account, &feed_query).await?;
    let mut response = Sse::new(sse_events(state.services.clone(), follower)).into_response();
    let headers = response.headers_mut();
    // In place of the `no-cache` of `Sse`.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// The state of a stream.
struct EventStream {
    services: Services,
    follower: Follower,
    has_begun: bool,
    /// Read from the feed, and not yet sent.
    events: VecDeque<Arc<Event>>,
    /// The last cursor that was sent.
    last_sent: EventCursor,
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

/// The body on one line, because not every client joins the lines of a frame. JSON has line breaks only between values.
fn one_line(body: &str) -> Cow<'_, str> {
    if body.contains(['\r', '\n']) { body.replace(['\r', '\n'], " ").into() } else { body.into() }
}

impl EventStream {
    /// Waits for the next frame; none at the end of the stream.
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.has_begun {
            self.has_begun = true;
            return Some(sse::Event::default().retry(RETRY).comment("the events follow"));
        }
        // Events that were read before the key was revoked must not be sent.
        while !self.follower.has_ended() {
            if let Some(event) = self.events.pop_front() {
                self.last_sent = self.follower.position(event.cursor);
                let sse_event =
                    sse::Event::default().id(self.last_sent.to_string()).event(event.kind.as_str());
                return Some(sse_event.data(one_line(&event.body)));
            }
            match tokio::time::timeout_at(self.next_ping, self.read()).await {
                Ok(events) => self.events = events?.into(),
                Err(_) => return Some(self.ping()),
            }
        }
        None
    }

    /// Reads the next events; after a pause none if the database is unavailable. Returns `None` at the end of the stream.
    async fn read(&mut self) -> Option<Vec<Arc<Event>>> {
        match self.follower.next_batch(&self.services).await {
            Ok(events) => events,
            // The client is further behind than the stored events; it gets the error when it reconnects.
            Err(Error::CursorExpired(_)) => None,
            Err(_) => {
                self.follower.pause(STORE_RETRY_DELAY).await;
                Some(Vec::new())
            }
        }
    }

    /// A comment. It carries the cursor if filtered events were skipped, so that a reconnecting client resumes after them.
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
