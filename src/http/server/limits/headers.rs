//! Rate limit headers: those of the IETF `RateLimit` draft, and those that Laravel's clients know.

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};

use super::RateLimitStatus;
use crate::domain::clock::Micros;
use crate::http::error::ceil_seconds;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds the headers of a limit, unless the response refuses the request by a limit that is counted in the database: its
/// `Retry-After` would contradict the requests that remain of this one. `X-RateLimit-Reset` is the Unix time in seconds at which
/// the full burst is available again or, after the limit was exceeded, at which the next request is allowed.
pub(in crate::http) fn insert_headers(response: &mut Response, status: &RateLimitStatus, now: Micros) {
    let RateLimitStatus { name, rate, remaining, retry_after } = status;
    if response.status() == StatusCode::TOO_MANY_REQUESTS && retry_after.is_none() {
        return;
    }
    let count = rate.count.get();
    let full_again = rate.period / count * count.saturating_sub(*remaining);
    let wait = ceil_seconds(retry_after.unwrap_or(full_again));
    let reset = u64::try_from(now.0 / 1_000_000).unwrap_or(0) + wait;
    let mut set_header = |header: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(header, value);
        }
    };
    set_header(RATE_LIMIT, format!("\"{name}\";r={remaining};t={wait}"));
    set_header(RATE_LIMIT_POLICY, format!("\"{name}\";q={count};w={}", rate.period.as_secs()));
    set_header(X_LIMIT, count.to_string());
    set_header(X_REMAINING, remaining.to_string());
    set_header(X_RESET, reset.to_string());
}
