//! The event feed, page by page. `stream` follows it.

mod query;
mod stream;

use std::time::Duration;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::list::limit;
use super::{Answer, ReadErrors};
use crate::domain::error::Error;
use crate::domain::ids::ConversationId;
use crate::domain::render::{EventOut, Success, raw};
use crate::domain::schema::{EventPosition, EventTypeList};
use crate::http::describe::{EventsRemoved, NotFound, error_sets};
use crate::http::extract::{QueryParams, Read};
use crate::http::state::AppState;
use crate::service::read_events;

pub(super) use stream::{__path_stream, stream};

/// The query of the list of events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The position to start after: a cursor, the id of an event, or `latest` for new events only. By default, the oldest stored event.
    #[param(inline, value_type = Option<EventPosition>)]
    after: Option<String>,
    /// Only these types, separated by commas.
    #[param(inline, value_type = Option<EventTypeList>, example = "message.created,reply.failed")]
    types: Option<String>,
    /// Only events of this conversation.
    #[param(inline, value_type = Option<ConversationId>)]
    conversation_id: Option<String>,
    /// Number of events per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// Seconds to wait for the first event before an empty page is returned; 0 by default.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 60)]
    wait: Option<String>,
}

/// Events, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Events)]
pub(super) struct EventsOut {
    #[schema(value_type = Vec<EventOut>)]
    items: Vec<Box<RawValue>>,
    /// For `?after=`; never null.
    #[schema(example = "1042")]
    next_cursor: String,
}

error_sets! {
    /// The query of the feed.
    InvalidFeedQuery {
        "A query parameter is invalid" => query::wait(Some("")).err().unwrap_or_else(|| Error::Invalid(Vec::new())),
    }

    /// A position that the feed does not have.
    UnknownPosition {
        "The feed has no such event, or not yet" => Error::Conflict(
            "Field 'after' is ahead of this workspace's log: its newest cursor is 1042.".to_owned(),
        ),
    }

    /// Streams and waiting long polls are limited in number.
    TooManyReaders {
        "Too many clients follow the events; see Retry-After" => Error::Overloaded {
            text: "Too many readers follow the events",
            retry_after: Duration::from_secs(5),
        },
    }
}

/// The errors of the feed.
type FeedErrors =
    (InvalidFeedQuery, UnknownPosition, NotFound<ConversationId>, EventsRemoved, TooManyReaders);

/// List events.
///
/// Returns the events after a cursor, in the order in which they happened.
#[utoipa::path(
    get, path = "/events", tag = "platform", operation_id = "listEvents", security(("bearer" = ["read"])),
    params(EventsQuery),
    responses((status = 200, description = "A page; `next_cursor` is never null", body = Success<EventsOut>), ReadErrors<FeedErrors>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<EventsQuery>,
) -> Answer<EventsOut> {
    let limit = limit(query.limit.as_deref())?;
    let wait = query::wait(query.wait.as_deref())?;
    let feed_query =
        query::feed_query(query.after.as_deref(), None, query.types.as_deref(), query.conversation_id)?;
    let (events, next) = read_events::list(&state.services, &account, &feed_query, limit, wait).await?;
    let items: Vec<Box<RawValue>> = events.iter().map(|event| raw(&event.body)).collect();
    let events = EventsOut { items, next_cursor: next.to_string() };
    Ok(Success::new("Events retrieved successfully.", events))
}
