//! Answers that went well: their bodies and the headers that say more of them.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::error::REJOINDER_ERROR;
use crate::domain::render::platform_success;
use crate::service::ApiResponse;

/// The turn that a message made.
pub(super) const REJOINDER_TURN: HeaderName = HeaderName::from_static("rejoinder-turn");
/// Why no reply was enqueued.
pub(super) const REJOINDER_REASON: HeaderName = HeaderName::from_static("rejoinder-reason");
/// The answer is the one that was kept for the request's `Idempotency-Key`.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// JSON text, as it is.
pub(super) fn json_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// A 200 of the platform door.
pub(super) fn success(message: &str, data: &impl Serialize) -> Response {
    json_text(StatusCode::OK, platform_success(message, data))
}

/// A 200 with a body of the widget door. Our own types have string keys only, so this cannot fail.
pub(super) fn widget_success(body: &impl Serialize) -> Response {
    json_text(StatusCode::OK, serde_json::to_string(body).unwrap_or_default())
}

/// What a message was answered with.
impl IntoResponse for ApiResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_text(status, self.answer.body);
        let headers = response.headers_mut();
        let mut set_header = |name: HeaderName, text: Option<String>| {
            if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.insert(name, value);
            }
        };
        set_header(REJOINDER_ERROR, self.answer.code);
        set_header(REJOINDER_REASON, self.answer.reason);
        set_header(REJOINDER_TURN, self.turn.map(|turn| turn.to_string()));
        set_header(IDEMPOTENT_REPLAYED, self.is_replay.then(|| "true".to_owned()));
        response
    }
}
