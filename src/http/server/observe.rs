//! The outermost layer: `x-request-id`, the duration by route, and one log line for each request that fails because of the server.

use std::error::Error as _;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::domain::error::Error;
use crate::http::envelope::Cause;
use crate::http::response::REJOINDER_WARNING;
use crate::http::state::AppState;
use crate::telemetry::traces::{Span, SpanDescription};
use crate::telemetry::{HTTP_REQUEST_DURATION_SECONDS, HTTP_WARNINGS};

/// Identifies a request in logs and responses.
pub(in crate::http) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The `x-request-id` of a request, in its extensions.
#[derive(Clone, Debug)]
pub(in crate::http) struct RequestId(HeaderValue);

impl RequestId {
    pub(in crate::http) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The longest client-supplied id that is accepted.
const MAX_ID_LENGTH: usize = 128;
/// The label of a path without a route.
const NO_ROUTE: &str = "none";
const UNTRACED_ROUTES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The outermost layer of the router.
pub(in crate::http) async fn observe(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    // The path template: labels must be bounded, and a path may contain the UUID that grants access to a conversation.
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let id = request_id(&request, &state);
    request.extensions_mut().insert(RequestId(id.clone()));

    let span = start_span(&method, &route, &id, request.headers());
    let mut response = span.run(next.run(request)).await;

    let status = response.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
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
    if response.headers().contains_key(REJOINDER_WARNING) {
        metrics::counter!(HTTP_WARNINGS, "route" => route.clone()).increment(1);
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

/// The span of a request. Probes and scrapes have none. Without the path, which may contain the UUID that grants access
/// to a conversation.
fn start_span(method: &Method, route: &str, id: &HeaderValue, headers: &HeaderMap) -> Span {
    if UNTRACED_ROUTES.contains(&route) {
        return Span::default();
    }
    Span::start_request(headers, || {
        let (method, name) = match method_label(method) {
            "other" => ("_OTHER", "HTTP"),
            method => (method, method),
        };
        let is_known = route != NO_ROUTE;
        let name = if is_known { format!("{name} {route}") } else { name.to_owned() };
        let description = SpanDescription::new(name)
            .with("http.request.method", method.to_owned())
            .with("rejoinder.request.id", id.to_str().unwrap_or_default().to_owned());
        if is_known { description.with("http.route", route.to_owned()) } else { description }
    })
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
