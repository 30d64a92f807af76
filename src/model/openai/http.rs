//! HTTP: the client, requests, the meaning of statuses, and a body that is bounded in size and silence.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::chat::{ModelError, ModelErrorDetail, ModelErrorKind, ModelErrorMessage};
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

/// Sends the body and waits for the head of a successful response, for at most `first_byte`.
pub(in crate::model) async fn post(
    endpoint: &Endpoint,
    body: Vec<u8>,
    first_byte: Option<Duration>,
) -> Result<Response, ModelError> {
    let request =
        endpoint.client.post(endpoint.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
    send(endpoint, request, first_byte).await
}

/// Requests the URL and waits for the head of a successful response.
pub(super) async fn get(endpoint: &Endpoint, limit: Duration) -> Result<Response, ModelError> {
    send(endpoint, endpoint.client.get(endpoint.url.clone()), Some(limit)).await
}

async fn send(
    endpoint: &Endpoint,
    request: RequestBuilder,
    first_byte: Option<Duration>,
) -> Result<Response, ModelError> {
    let mut request = request.header(ACCEPT, endpoint.accept);
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    let began = Instant::now();
    let sent = match first_byte {
        Some(limit) => timeout(limit, request.send()).await,
        None => Ok(request.send().await),
    };
    let response = sent.map_err(|_| ModelErrorKind::Timeout)?.map_err(|error| connection_error(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // A gateway ran out of time, and would do so again.
    let is_slow = matches!(status.as_u16(), 408 | 504 | 524) && began.elapsed() >= endpoint.first_byte;
    let kind =
        if is_slow { ModelErrorKind::TooSlow } else { status_kind(status, retry_after(response.headers())) };
    let body = bounded_body(response, Patience::bounded(endpoint.idle), MAX_ERROR_BODY);
    let body = timeout(endpoint.idle, read_to_end(body)).await.unwrap_or(Ok(Vec::new())).unwrap_or_default();
    Err(ModelError { kind, detail: Some(Box::new(errors::read(&body, status))) })
}

/// A timeout to connect says nothing about the model.
fn connection_error(error: &reqwest::Error) -> ModelError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let message = ModelErrorMessage::Own(cause.to_string());
    let detail = ModelErrorDetail { message: Some(message), ..ModelErrorDetail::default() };
    ModelError { kind: ModelErrorKind::Unavailable, detail: Some(Box::new(detail)) }
}

pub(super) fn status_kind(status: StatusCode, retry_after: Option<Duration>) -> ModelErrorKind {
    match status.as_u16() {
        408 => ModelErrorKind::Timeout,
        429 => ModelErrorKind::RateLimited { retry_after },
        400..=499 => ModelErrorKind::Refused,
        500.. => ModelErrorKind::Unavailable,
        // Such as a redirect, which no model sends.
        _ => ModelErrorKind::Unreadable,
    }
}

/// The delay that the response requests.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    retry::retry_after(text(RETRY_AFTER)?, text(DATE))
}

pub(super) fn is_event_stream(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// How long a response may be silent; `None`: as long as the caller waits.
#[derive(Clone)]
pub(in crate::model) struct Patience {
    /// Before the model has begun to answer.
    first: Option<Duration>,
    /// Once it has begun.
    idle: Option<Duration>,
    has_begun: Arc<AtomicBool>,
}

impl Patience {
    pub(super) fn new(first: Option<Duration>, idle: Option<Duration>) -> Self {
        Self { first, idle, has_begun: Arc::default() }
    }

    /// The same limit from the beginning.
    pub(in crate::model) fn bounded(idle: Duration) -> Self {
        Self::new(Some(idle), Some(idle))
    }

    /// The model has begun to answer.
    pub(super) fn end(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    fn limit(&self) -> Option<Duration> {
        if self.has_begun.load(Ordering::Relaxed) { self.idle } else { self.first }
    }
}

/// The body, which ends with an error when it exceeds `max` or sends no complete line for too long: single bytes do not
/// keep a call alive.
pub(in crate::model) fn bounded_body(response: Response, patience: Patience, max: usize) -> Body {
    struct State {
        bytes: BoxStream<'static, reqwest::Result<Bytes>>,
        remaining: usize,
        last_line: Instant,
    }

    let state = State { bytes: response.bytes_stream().boxed(), remaining: max, last_line: Instant::now() };
    stream::try_unfold(state, move |mut state| {
        let patience = patience.clone();
        async move {
            let next = match patience.limit() {
                Some(limit) => timeout_at(state.last_line + limit, state.bytes.next()).await,
                None => Ok(state.bytes.next().await),
            };
            let chunk = match next.map_err(|_| ModelErrorKind::Timeout)? {
                None => return Ok(None),
                Some(chunk) => chunk.map_err(|_| ModelErrorKind::Unreadable)?,
            };
            state.remaining = state.remaining.checked_sub(chunk.len()).ok_or(ModelErrorKind::Unreadable)?;
            if chunk.contains(&b'\n') {
                state.last_line = Instant::now();
            }
            Ok(Some((chunk, state)))
        }
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
        let of = |code| status_kind(StatusCode::from_u16(code).unwrap(), None);

        assert_eq!(of(302), ModelErrorKind::Unreadable);
        assert_eq!(of(400), ModelErrorKind::Refused);
        assert_eq!(of(401), ModelErrorKind::Refused);
        assert_eq!(of(408), ModelErrorKind::Timeout);
        assert_eq!(of(429), ModelErrorKind::RateLimited { retry_after: None });
        assert_eq!(of(500), ModelErrorKind::Unavailable);
        assert_eq!(of(529), ModelErrorKind::Unavailable);
    }
}
