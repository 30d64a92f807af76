//! A conversation as it goes on: its status, its messages, and whether a person types, as server-sent events.

use axum::extract::{Extension, State};
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::conversations::Entry;
use super::guard::{FromVisitor, Guarded, RouteClass};
use super::identity::IdentityHeader;
use super::link::link;
use crate::domain::error::Error;
use crate::domain::ids::ConversationId;
use crate::domain::schema::{FramePosition, LastFrameId};
use crate::http::describe::{Errors, NotFound, Overloaded, Unavailable, WorkspaceSuspended, error_sets};
use crate::http::envelope::{ApiError, Widget};
use crate::http::event_stream::{Frame, FrameSource, STORE_RETRY_DELAY, last_event_id, respond};
use crate::http::extract::{PathParam, QueryParams};
use crate::http::fields::Violation;
use crate::http::server::{Limits, Peer, StreamPermit};
use crate::http::state::AppState;
use crate::service::Services;
use crate::service::follow_conversation::{ConversationFollower, ConversationNews, FollowRequest, follow};
use crate::service::read_events::StartPosition;

/// The query of the stream. The header `Last-Event-ID` takes precedence over `after`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The position to start after: the `id` of a frame, or `latest` (default) for what is new only.
    #[param(inline, value_type = Option<FramePosition>)]
    after: Option<String>,
}

/// The data of a frame.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = VisitorEvent)]
pub(in crate::http) enum VisitorEvent {
    /// Of `status`.
    Status(VisitorStatus),
    /// Of `message`: as in the history.
    Message(Box<Entry>),
    /// Of `typing`.
    Typing(VisitorTyping),
    /// Of `reset`: without fields.
    Reset(VisitorReset),
}

/// Whether the AI answers, and whether messages are accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct VisitorStatus {
    ai_enabled: bool,
    ended: bool,
}

/// Whether a person types.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct VisitorTyping {
    typing: bool,
}

/// Messages may be missing before the next one: the history has them.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct VisitorReset {}

error_sets! {
    /// The position at which a stream begins.
    InvalidPosition {
        "The position is malformed" => malformed("after"),
    }
}

fn malformed(source: &'static str) -> Error {
    Violation::rule("must be the id of a frame, or 'latest'").of::<Widget>(source)
}

/// The position in the header or, without that, in the query.
fn position(query: &EventsQuery, headers: &HeaderMap) -> Result<StartPosition, Error> {
    let (source, text) = match last_event_id(headers) {
        Some(id) => ("Last-Event-ID", id),
        None => ("after", query.after.as_deref().unwrap_or("latest")),
    };
    if text == "latest" {
        return Ok(StartPosition::Latest);
    }
    text.parse().map(StartPosition::Event).map_err(|_| malformed(source))
}

type EventsErrors = Errors<
    Widget,
    (Guarded, InvalidPosition, NotFound<ConversationId>, WorkspaceSuspended, Overloaded, Unavailable),
>;

/// Follow a conversation.
///
/// The response is a stream of server-sent events: `status` at the beginning and when it changes, `message` for each message of anyone,
/// `typing` when a person begins or ceases to type, and `reset` if the position is gone: then read the history. At most 4 at once.
#[utoipa::path(
    get, path = "/conversations/{uuid}/events", tag = "widget", operation_id = "streamWidgetEvents",
    params(
        ("uuid" = Uuid, Path, description = "The conversation's UUID"),
        IdentityHeader,
        EventsQuery,
        ("Last-Event-ID" = inline(Option<LastFrameId>), Header, description = "The last `id` that the client received. Takes precedence over `after`"),
    ),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "An endless stream, with a comment at least every 10 s. It ends when the conversation is deleted, the identity token or \
                the origin of the request is no longer accepted, or the server stops",
            example = "id: evt_01k9z3x8f5e4r9t2m6q7w8y0ab\nevent: status\ndata: {\"ai_enabled\":true,\"ended\":false}\n\n",
        ),
        EventsErrors,
    ),
)]
pub(super) async fn stream(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    FromVisitor(visitor): FromVisitor,
    QueryParams(query, _): QueryParams<EventsQuery, Widget>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, ApiError<Widget>> {
    let has_limit = !RouteClass::Request.is_unlimited(visitor.account.as_ref());
    let limits = state.limits.as_ref().filter(|_| has_limit);
    let address = |limits: &Limits| limits.address(peer.map(|Extension(peer)| peer), &headers);
    let permit = limits.map(|limits| limits.acquire_stream(address(limits))).transpose()?;
    let request = FollowRequest { link: link(&name)?, visitor, after: position(&query, &headers)? };
    let follower = follow(&state.services, request).await?;
    Ok(respond(NewsFrames { services: state.services.clone(), follower, _permit: permit }))
}

/// The news of a conversation as frames.
struct NewsFrames {
    services: Services,
    follower: ConversationFollower,
    _permit: Option<StreamPermit>,
}

impl FrameSource for NewsFrames {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.follower.next(&self.services).await {
                Ok(news) => return news.map(|news| frame(news, self.position())),
                Err(error) if error.is_server_fault() => self.follower.pause(STORE_RETRY_DELAY).await,
                // Also if it is further behind than the stored events. The client gets the error, or a reset, when it reconnects.
                Err(_) => return None,
            }
        }
    }

    fn position(&self) -> String {
        self.follower.position().to_string()
    }
}

fn frame(news: ConversationNews, position: String) -> Frame {
    let (name, data) = match news {
        ConversationNews::Status(status) => {
            let status = VisitorStatus { ai_enabled: status.ai_enabled, ended: status.has_ended };
            ("status", VisitorEvent::Status(status))
        }
        ConversationNews::Message(message) => {
            ("message", VisitorEvent::Message(Box::new(Entry::from(*message))))
        }
        ConversationNews::Typing(typing) => ("typing", VisitorEvent::Typing(VisitorTyping { typing })),
        ConversationNews::Reset => ("reset", VisitorEvent::Reset(VisitorReset {})),
    };
    // Our own types have string keys only, so this cannot fail.
    Frame::new(position, name, &serde_json::to_string(&data).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_header_wins_over_the_query_and_garbage_is_named() {
        let query = |after: &str| EventsQuery { after: Some(after.to_owned()) };
        let mut headers = HeaderMap::new();
        let (first, second) = ("evt_01k9z3x8f5e4r9t2m6q7w8y0ab", "evt_01k9z3x8f5e4r9t2m6q7w8y0ac");
        let event = |id: &str| StartPosition::Event(id.parse().unwrap());

        assert_eq!(position(&EventsQuery { after: None }, &headers).unwrap(), StartPosition::Latest);
        assert_eq!(position(&query(first), &headers).unwrap(), event(first));
        let error = position(&query("42"), &headers).unwrap_err();
        assert_eq!(error.to_string(), "The after field must be the id of a frame, or 'latest'.");
        headers.insert("last-event-id", HeaderValue::from_static(second));
        assert_eq!(position(&query(first), &headers).unwrap(), event(second));
    }
}
