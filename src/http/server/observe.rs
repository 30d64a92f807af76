//! The outermost layer: `x-request-id`, the duration by route, and one log line for each request that fails because of the server.

use std::error::Error as _;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};

use crate::domain::error::Error;
use crate::http::envelope::Cause;
use crate::http::state::AppState;
use crate::telemetry::HTTP_REQUEST_DURATION_SECONDS;

/// Identifies a request in logs and responses.
pub(in crate::http) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest client-supplied id that is accepted.
const MAX_ID_LENGTH: usize = 128;

/// The outermost layer of the router.
pub(in crate::http) async fn observe(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    // The path template: labels must be bounded, and a path may contain the UUID that grants access to a conversation.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let id = request_id(&request, &state);

    let mut response = next.run(request).await;

    let status = response.status();
    if let Some(Cause(error)) = response.extensions_mut().remove::<Cause>() {
        let id = id.to_str().unwrap_or_default();
        tracing::error!(
            request.id = id,
            http.route = route,
            http.status = status.as_u16(),
            "{method} {route} failed: {}",
            error_chain(&error),
        );
    }
    let labels = [
        ("method", method_label(&method).to_owned()),
        ("route", route),
        ("status", status.as_str().to_owned()),
    ];
    metrics::histogram!(HTTP_REQUEST_DURATION_SECONDS, &labels).record(started.elapsed());
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// The client's own id if it is short and visible, otherwise a new one.
fn request_id(request: &Request, state: &AppState) -> HeaderValue {
    let header = request.headers().get(&X_REQUEST_ID);
    let usable = |value: &&HeaderValue| {
        !value.is_empty() && value.len() <= MAX_ID_LENGTH && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    header.filter(usable).cloned().unwrap_or_else(|| {
        let id = state.services.ids.uuid_v7(state.services.clock.as_ref());
        HeaderValue::try_from(id.to_string()).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// Clients may invent methods; unknown ones share one label.
fn method_label(method: &Method) -> &str {
    match method.as_str() {
        name @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => name,
        _ => "other",
    }
}

/// An error with its sources.
fn error_chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
