//! `/calendars/{token}.ics`: a calendar's bookings, for any calendar program. The address is the only credential, so
//! requests count towards the rate limits of their address, like a visitor's. Errors are plain text.

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use uuid::Uuid;

use super::etag::is_not_modified;
use super::plain_text::{failed, limit, plain_text};
use super::static_file::digest;
use crate::domain::ids::{CalendarId, CalendarToken, ResourceId as _};
use crate::http::extract::PathParam;
use crate::http::query;
use crate::http::state::AppState;
use crate::service::calendars;

const TEXT_CALENDAR: HeaderValue = HeaderValue::from_static("text/calendar; charset=utf-8");

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
    let tag = format!("\"{}\"", digest(&file));
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

fn not_found() -> Response {
    let error = CalendarId::not_found("");
    plain_text(StatusCode::NOT_FOUND, error.code(), "There is no such calendar.\n")
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
