//! The feed as server-sent events.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{FeedErrors, query};
use crate::domain::event::{Event, EventCursor};
use crate::domain::ids::ConversationId;
use crate::domain::schema::{EventPosition, EventTypeList, LastEventId};
use crate::http::describe::WorkspaceSuspended;
use crate::http::envelope::{ApiError, Platform};
use crate::http::event_stream::{Frame, FrameSource, STORE_RETRY_DELAY, last_event_id, respond};
use crate::http::extract::{QueryParams, Read};
use crate::http::platform::ReadErrors;
use crate::http::state::AppState;
use crate::service::Services;
use crate::service::follow_events::{Follower, follow};

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
    params(StreamQuery, ("Last-Event-ID" = inline(Option<LastEventId>), Header, description = "The last `id` that the client received. Takes precedence over `after`")),
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
    let last = last_event_id(&headers);
    let feed_query =
        query::feed_query(query.after.as_deref(), last, query.types.as_deref(), query.conversation_id)?;
    let follower = follow(&state.services, &account, &feed_query).await?;
    let position = follower.cursor();
    let services = state.services.clone();
    Ok(respond(EventFrames { services, follower, events: VecDeque::new(), position }))
}

/// The events of a feed as frames.
struct EventFrames {
    services: Services,
    follower: Follower,
    /// Read from the feed, and not yet returned.
    events: VecDeque<Arc<Event>>,
    /// The cursor of the last event that was returned.
    position: EventCursor,
}

impl FrameSource for EventFrames {
    async fn next(&mut self) -> Option<Frame> {
        // Events that were read before the key was revoked must not be sent.
        while !self.follower.has_ended() {
            if let Some(event) = self.events.pop_front() {
                self.position = self.follower.position(event.cursor);
                return Some(Frame::new(self.position.to_string(), event.kind.as_str(), &event.body));
            }
            match self.follower.next_batch(&self.services).await {
                Ok(events) => self.events = events?.into(),
                Err(error) if error.is_server_fault() => self.follower.pause(STORE_RETRY_DELAY).await,
                // The client is further behind than the stored events; it gets the error when it reconnects.
                Err(_) => return None,
            }
        }
        None
    }

    fn position(&self) -> String {
        let position = if self.events.is_empty() { self.follower.cursor() } else { self.position };
        position.to_string()
    }
}
