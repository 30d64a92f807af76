//! `/calendars/{token}.ics`: a calendar's bookings, for any calendar program. The address is the only credential, so
//! requests count towards the rate limits of their address, like a visitor's. Errors are plain text.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::etag::is_not_modified;
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, CalendarToken, ResourceId as _};
use crate::http::envelope::Cause;
use crate::http::error::{REJOINDER_ERROR, ceil_seconds};
use crate::http::extract::PathParam;
use crate::http::query;
use crate::http::server::{Caller, Peer, RequestKind, insert_headers};
use crate::http::state::AppState;
use crate::service::calendars;

const TEXT_CALENDAR: HeaderValue = HeaderValue::from_static("text/calendar; charset=utf-8");
const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The route, which lies outside of both APIs.
pub(in crate::http) fn routes(state: &AppState) -> Router<AppState> {
    let routes = query::warn_of_all(Router::new().route("/calendars/{file}", get(read)));
    routes.route_layer(from_fn_with_state(state.clone(), limit))
}

/// The URL of a calendar's file on the server at `public_url`.
pub(in crate::http) fn url(public_url: &str, token: CalendarToken) -> String {
    format!("{public_url}/calendars/{token}.ics")
}

/// Answers 304 if the program has the current file.
async fn read(State(state): State<AppState>, PathParam(name): PathParam, headers: HeaderMap) -> Response {
    let Some(token) = token(&name) else { return not_found() };
    let file = match calendars::read_ics(&state.services, token).await {
        Ok(Some(file)) => file,
        Ok(None) => return not_found(),
        Err(error) => return failed(error),
    };
    let mut response_headers = HeaderMap::new();
    response_headers.insert(CONTENT_TYPE, TEXT_CALENDAR);
    // Only the program may store the file, and must revalidate it each time, so a booking appears at the next refresh.
    response_headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response_headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response_headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&file)));
    // A tag is base64 in quotes, so this cannot fail.
    if let Ok(tag) = HeaderValue::try_from(tag) {
        if is_not_modified(&headers, &tag) {
            response_headers.insert(ETAG, tag);
            return (StatusCode::NOT_MODIFIED, response_headers).into_response();
        }
        response_headers.insert(ETAG, tag);
    }
    (response_headers, file).into_response()
}

/// Extracts the token from a file name.
fn token(name: &str) -> Option<CalendarToken> {
    let digits = name.strip_suffix(".ics").filter(|digits| digits.len() == 32)?;
    Uuid::try_parse(digits).ok().map(CalendarToken)
}

fn plain_text(status: StatusCode, code: &'static str, text: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, TEXT_PLAIN), (REJOINDER_ERROR, HeaderValue::from_static(code))];
    (status, headers, text).into_response()
}

fn not_found() -> Response {
    let error = CalendarId::not_found("");
    plain_text(StatusCode::NOT_FOUND, error.code(), "There is no such calendar.\n")
}

fn failed(error: Error) -> Response {
    let (status, text) = if matches!(error, Error::Internal { .. }) {
        (StatusCode::INTERNAL_SERVER_ERROR, "The server failed to process the request.\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "The service is temporarily unavailable. Please retry.\n")
    };
    let mut response = plain_text(status, error.code(), text);
    response.extensions_mut().insert(Cause(std::sync::Arc::new(error)));
    response
}

/// Counts the request towards the widget API's limit for its address.
async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_a_file_is_a_token() {
        let digits = "7c9e6679742540de944be07fc1f90ae7";

        assert_eq!(token(&format!("{digits}.ics")).map(|token| token.to_string()), Some(digits.to_owned()));
        for name in ["", ".ics", digits, "x.ics", "7c9e6679-7425-40de-944b-e07fc1f90ae7.ics"] {
            assert_eq!(token(name), None, "{name}");
        }
        assert_eq!(token(&format!("{digits}.ICS")), None);
    }
}
