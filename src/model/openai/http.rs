//! HTTP: the client, requests, the meaning of statuses, and a body that is bounded in size and silence. Logs contain
//! only host and status.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::chat::ModelError;
use crate::domain::retry;

use super::{Endpoint, errors};

const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_SIZE: usize = 1024;
/// Bytes of an error body that are searched for its code.
const MAX_ERROR_BODY: usize = 64 * 1024;

pub(in crate::model) type Body = BoxStream<'static, Result<Bytes, ModelError>>;

/// A client that follows no redirects, repeats no requests and ignores proxies of the environment. It also works
/// without system certificates.
pub(super) fn build_client(connect: Duration) -> reqwest::Result<reqwest::Client> {
    // An error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(connect)
            // On a single HTTP/2 connection, calls beyond the stream limit of the endpoint would wait.
            .http1_only()
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
    };
    builder()
        .tls_certs_merge(bundled_roots())
        .build()
        .or_else(|_| builder().tls_certs_only(bundled_roots()).build())
}

fn bundled_roots() -> impl Iterator<Item = reqwest::Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| reqwest::Certificate::from_der(der).ok())
}

/// Sends the request and waits for the head of a successful response.
pub(in crate::model) async fn post(endpoint: &Endpoint, body: Vec<u8>) -> Result<Response, ModelError> {
    let mut request = endpoint
        .client
        .post(endpoint.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, endpoint.accept)
        .body(body);
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }

    let host = endpoint.url.host_str().unwrap_or_default();
    let response = match timeout(endpoint.first_byte, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let kind = model_error(&error);
            tracing::warn!(
                model.host = host,
                model.error = kind.failure().as_str(),
                "a model could not be reached"
            );
            return Err(kind);
        }
        Err(_) => {
            tracing::warn!(model.host = host, "a model did not start to respond in time");
            return Err(ModelError::Timeout);
        }
    };
    if response.status().is_success() {
        return Ok(response);
    }

    let status = response.status();
    let failure = status_error(status, retry_after(response.headers()));
    let code = error_code(response, endpoint.idle).await;
    tracing::warn!(
        model.host = host,
        model.status = status.as_u16(),
        model.code = code.as_deref(),
        "a model answered with an error"
    );
    Err(failure)
}

fn model_error(error: &reqwest::Error) -> ModelError {
    if error.is_timeout() { ModelError::Timeout } else { ModelError::Unavailable }
}

pub(super) fn status_error(status: StatusCode, retry_after: Option<Duration>) -> ModelError {
    match status.as_u16() {
        408 => ModelError::Timeout,
        429 => ModelError::RateLimited { retry_after },
        400..=499 => ModelError::Refused,
        500.. => ModelError::Unavailable,
        // Such as a redirect, which no model sends.
        _ => ModelError::Unreadable,
    }
}

/// The delay that the response requests.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    retry::retry_after(text(RETRY_AFTER)?, text(DATE))
}

/// The short code with which an endpoint names its error, such as `model_not_found`.
async fn error_code(response: Response, idle: Duration) -> Option<String> {
    let body = bounded_body(response, idle, MAX_ERROR_BODY);
    let body = timeout(idle, read_to_end(body)).await.ok()?.ok()?;
    errors::code(&body)
}

pub(super) fn is_event_stream(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// The body, which ends with an error when it exceeds `max` or sends no complete line for `idle`: single bytes do not
/// keep a call alive.
pub(in crate::model) fn bounded_body(response: Response, idle: Duration, max: usize) -> Body {
    struct State {
        bytes: BoxStream<'static, reqwest::Result<Bytes>>,
        remaining: usize,
        deadline: Instant,
    }

    let state =
        State { bytes: response.bytes_stream().boxed(), remaining: max, deadline: Instant::now() + idle };
    stream::try_unfold(state, move |mut state| async move {
        let chunk = match timeout_at(state.deadline, state.bytes.next()).await {
            Err(_) => return Err(ModelError::Timeout),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(ModelError::Unreadable),
            Ok(Some(Ok(chunk))) => chunk,
        };
        state.remaining = state.remaining.checked_sub(chunk.len()).ok_or(ModelError::Unreadable)?;
        if chunk.contains(&b'\n') {
            state.deadline = Instant::now() + idle;
        }
        Ok(Some((chunk, state)))
    })
    .boxed()
}

pub(in crate::model) async fn read_to_end(body: Body) -> Result<Vec<u8>, ModelError> {
    body.try_fold(Vec::new(), |mut body, chunk| async move {
        body.extend_from_slice(&chunk);
        Ok(body)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), reqwest::header::HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        const LATER: &str = "Wed, 21 Oct 2026 07:28:30 GMT";
        const NOW: &str = "Wed, 21 Oct 2026 07:28:00 GMT";
        let cases = [
            (headers(&[(RETRY_AFTER, "7")]), Some(7)),
            (headers(&[(RETRY_AFTER, LATER), (DATE, NOW)]), Some(30)),
            (headers(&[(RETRY_AFTER, NOW), (DATE, LATER)]), Some(0)),
            (headers(&[(RETRY_AFTER, LATER)]), None),
            (headers(&[(RETRY_AFTER, "soon"), (DATE, NOW)]), None),
            (headers(&[(RETRY_AFTER, "-1")]), None),
            (headers(&[]), None),
        ];

        for (headers, seconds) in cases {
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        let of = |code| status_error(StatusCode::from_u16(code).unwrap(), None);

        assert_eq!(of(302), ModelError::Unreadable);
        assert_eq!(of(400), ModelError::Refused);
        assert_eq!(of(401), ModelError::Refused);
        assert_eq!(of(408), ModelError::Timeout);
        assert_eq!(of(429), ModelError::RateLimited { retry_after: None });
        assert_eq!(of(500), ModelError::Unavailable);
        assert_eq!(of(529), ModelError::Unavailable);
    }
}
