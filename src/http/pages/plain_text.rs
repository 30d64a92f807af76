//! Errors in plain text, and the limit of requests, for what people open without either API.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::domain::error::Error;
use crate::http::envelope::Cause;
use crate::http::error::{REJOINDER_ERROR, ceil_seconds};
use crate::http::server::{Caller, Peer, RequestKind, insert_headers};
use crate::http::state::AppState;

const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) fn plain_text(status: StatusCode, code: &'static str, text: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, TEXT_PLAIN), (REJOINDER_ERROR, HeaderValue::from_static(code))];
    (status, headers, text).into_response()
}

/// The response to a failure of the server.
pub(super) fn failed(error: Error) -> Response {
    let (status, text) = if matches!(error, Error::Internal { .. }) {
        (StatusCode::INTERNAL_SERVER_ERROR, "The server failed to process the request.\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "The service is temporarily unavailable. Please retry.\n")
    };
    let mut response = plain_text(status, error.code(), text);
    response.extensions_mut().insert(Cause(Arc::new(error)));
    response
}

/// Counts the request towards the widget API's limit for its address.
pub(super) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(limits) = &state.limits else { return next.run(request).await };
    let peer = request.extensions().get::<Peer>().copied();
    let visitor = Caller::Visitor(limits.address(peer, request.headers()));
    let Some(status) = limits.count(RequestKind::Request, visitor) else {
        return next.run(request).await;
    };
    let mut response = match status.retry_after {
        None => next.run(request).await,
        Some(retry_after) => {
            let error = Error::LimitReached { retry_after };
            let mut rejection =
                plain_text(StatusCode::TOO_MANY_REQUESTS, error.code(), "Too Many Attempts.\n");
            rejection.headers_mut().insert(RETRY_AFTER, ceil_seconds(retry_after).into());
            rejection
        }
    };
    insert_headers(&mut response, &status, state.services.clock.now());
    response
}
