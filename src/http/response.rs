//! Successful responses: their bodies and headers.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::REJOINDER_ERROR;
use crate::domain::render::Success;
use crate::service::ApiResponse;

/// The turn of the message that was sent.
pub(super) const REJOINDER_TURN: HeaderName = HeaderName::from_static("rejoinder-turn");
/// The reason that no reply was enqueued.
pub(super) const REJOINDER_REASON: HeaderName = HeaderName::from_static("rejoinder-reason");
/// Names what the request has and what has no effect.
pub(super) const REJOINDER_WARNING: HeaderName = HeaderName::from_static("rejoinder-warning");
/// The response is the one that was stored for the request's `Idempotency-Key`.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Disables response buffering in nginx.
pub(super) const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    items: Vec<T>,
    /// For `?cursor=`; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn new<I: Into<T>>(items: impl IntoIterator<Item = I>, next_cursor: Option<String>) -> Self {
        Self { items: items.into_iter().map(Into::into).collect(), next_cursor }
    }
}

/// A duration in milliseconds, as JSON has it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A response with a body of JSON text.
pub(super) fn json_text(status: StatusCode, body: impl Into<Body>) -> Response {
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, content_type, body.into()).into_response()
}

/// A 200 of the platform API.
impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        json_text(StatusCode::OK, self.to_json())
    }
}

/// A 200 of the widget API. Our own types have string keys only, so this cannot fail.
pub(super) fn widget_success(body: &impl Serialize) -> Response {
    json_text(StatusCode::OK, serde_json::to_string(body).unwrap_or_default())
}

/// The response to a message, or to a new conversation.
impl IntoResponse for ApiResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_text(status, self.answer.body);
        let headers = response.headers_mut();
        set_header(headers, REJOINDER_ERROR, self.answer.code);
        set_header(headers, REJOINDER_REASON, self.answer.reason);
        set_header(headers, REJOINDER_WARNING, self.warning);
        set_header(headers, REJOINDER_TURN, self.turn.map(|turn| turn.to_string()));
        set_header(headers, IDEMPOTENT_REPLAYED, self.is_replay.then(|| "true".to_owned()));
        response
    }
}

/// Sets a header to a text, if there is one.
pub(super) fn set_header(headers: &mut HeaderMap, name: HeaderName, text: Option<String>) {
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(name, value);
    }
}
