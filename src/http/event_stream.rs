//! Streams of server-sent events that follow the feed. The body is produced as the client reads it: a slow client keeps at most the events
//! of one read in memory, and a stalled one is disconnected (`http::server::response_body`).

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use axum::BoxError;
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use super::response::X_ACCEL_BUFFERING;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The interval of pings on a quiet stream; proxies close connections that are silent for a minute.
const PING: Duration = Duration::from_secs(10);
/// The delay after which a client reconnects.
const RETRY: Duration = Duration::from_secs(2);
/// The delay before the next read after the database was unavailable.
pub(super) const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A frame, and the position after which a client that has it resumes.
pub(super) struct Frame {
    position: String,
    event: sse::Event,
}

impl Frame {
    /// `data` is JSON.
    pub(super) fn new(position: String, name: &str, data: &str) -> Self {
        let event = sse::Event::default().id(&position).event(name).data(one_line(data));
        Self { position, event }
    }
}

/// The frames of a stream.
pub(super) trait FrameSource: Send + 'static {
    /// Waits for the next frame; none at the end of the stream. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Option<Frame>> + Send;

    /// The position up to which all frames were returned.
    fn position(&self) -> String;
}

/// The position in the header `Last-Event-ID`. A client that has received no event yet may send an empty value.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty())
}

/// The response that streams the frames of a source.
pub(super) fn respond(source: impl FrameSource) -> Response {
    stream_response(events(source))
}

/// The response with a stream of events, which nothing on the way stores or holds back.
pub(super) fn stream_response<E: Into<BoxError> + 'static>(
    events: impl Stream<Item = Result<sse::Event, E>> + Send + 'static,
) -> Response {
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    // In place of the `no-cache` of `Sse`.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The body on one line, because not every client joins the lines of a frame. JSON has line breaks only between values.
fn one_line(body: &str) -> Cow<'_, str> {
    if body.contains(['\r', '\n']) { body.replace(['\r', '\n'], " ").into() } else { body.into() }
}

/// The state of a stream.
struct EventStream<S> {
    source: S,
    has_begun: bool,
    /// The last position that was sent.
    last_sent: String,
    next_ping: Instant,
}

fn events<S: FrameSource>(source: S) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    let (last_sent, next_ping) = (source.position(), Instant::now() + PING);
    let initial = EventStream { source, has_begun: false, last_sent, next_ping };
    futures::stream::unfold(initial, async |mut state| {
        let event = state.next().await?;
        state.next_ping = Instant::now() + PING;
        Some((Ok(event), state))
    })
}

impl<S: FrameSource> EventStream<S> {
    /// Waits for the next event; none at the end of the stream.
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.has_begun {
            self.has_begun = true;
            return Some(sse::Event::default().retry(RETRY).comment("the events follow"));
        }
        match tokio::time::timeout_at(self.next_ping, self.source.next()).await {
            Ok(frame) => {
                let Frame { position, event } = frame?;
                self.last_sent = position;
                Some(event)
            }
            Err(_) => Some(self.ping()),
        }
    }

    /// A comment. It carries the position if that has advanced without a frame, so that a reconnecting client resumes there.
    fn ping(&mut self) -> sse::Event {
        let ping = sse::Event::default().comment("ping");
        let position = self.source.position();
        if position == self.last_sent {
            return ping;
        }
        self.last_sent = position;
        ping.id(&self.last_sent)
    }
}
