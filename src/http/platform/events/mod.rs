//! The feed of events, page by page. Whoever follows it as it grows has `stream`.

mod query;
mod stream;

use axum::extract::State;
use axum::response::Response;
use serde_json::value::RawValue;

use super::cursor::limit;
use super::wire::{EventsQuery, PageOut};
use crate::domain::render::raw;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{QueryParams, Read};
use crate::http::openapi::{EventPage, FeedErrors, ReadErrors};
use crate::http::response::success;
use crate::http::state::AppState;
use crate::service::read_events;

pub(super) use stream::{__path_stream, stream};

/// List events after a cursor, in the order in which they became true.
#[utoipa::path(
    get, path = "/events", tag = "platform", operation_id = "listEvents", security(("bearer" = [])),
    params(EventsQuery),
    responses((status = 200, description = "A page; `next_cursor` is never null", body = EventPage), ReadErrors, FeedErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    QueryParams(query, _): QueryParams<EventsQuery, Platform>,
) -> Result<Response, ApiError<Platform>> {
    let limit = limit(query.limit.as_deref())?;
    let wait = query::wait(query.wait.as_deref())?;
    let feed_query =
        query::feed_query(query.after.as_deref(), None, query.types.as_deref(), query.conversation_id)?;
    let page = read_events::list(&state.services, &account, &feed_query, limit, wait).await?;
    let items: Vec<Box<RawValue>> = page.events.iter().map(|event| raw(&event.body)).collect();
    // Whoever has read all goes on from where it is.
    let data = PageOut { items, next_cursor: Some(page.next.to_string()) };
    Ok(success("Events retrieved successfully.", &data))
}
