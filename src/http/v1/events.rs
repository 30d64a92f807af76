//! The feed of events, page by page.

use axum::extract::State;
use axum::response::Response;
use serde_json::value::RawValue;

use super::cursor::limit;
use super::wire::{EventsQuery, PageOut};
use crate::domain::error::Error;
use crate::domain::rendered::raw;
use crate::http::answer::success;
use crate::http::envelope::Platform;
use crate::http::error::ApiError;
use crate::http::extract::{Read, Search};
use crate::http::openapi::{EventPage, QueryErrors, ReadErrors};
use crate::http::state::AppState;
use crate::service::read_events;

/// List events after a cursor, in the order in which they became true.
#[utoipa::path(
    get, path = "/events", tag = "platform", operation_id = "listEvents", security(("bearer" = [])),
    params(EventsQuery),
    responses((status = 200, description = "A page; `next_cursor` is never null", body = EventPage), ReadErrors, QueryErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read<Platform>,
    Search(query, _): Search<EventsQuery, Platform>,
) -> Result<Response, ApiError<Platform>> {
    let limit = limit(query.limit.as_deref())?;
    let after = after(query.after.as_deref())?;
    let events = read_events::list(&state.services, &account, after, limit).await?;
    // Whoever has read all goes on from where it is.
    let next = events.last().map_or(after, |event| event.cursor);
    let items: Vec<Box<RawValue>> = events.iter().map(|event| raw(&event.body)).collect();
    let data = PageOut { items, next_cursor: Some(next.to_string()) };
    Ok(success("Events retrieved successfully.", &data))
}

fn after(cursor: Option<&str>) -> Result<i64, Error> {
    let Some(cursor) = cursor else { return Ok(0) };
    let number = cursor.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| Error::invalid("after", "Field 'after' is not a cursor of this list."))
}
