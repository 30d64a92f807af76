//! What is answered where a request is not: a problem, rendered by the envelope of its door.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::envelope::Envelope;
use crate::domain::error::Error;
use crate::domain::failure::Failure;

/// Names the cause of an error answer with a stable code.
pub(super) const REJOINDER_ERROR: HeaderName = HeaderName::from_static("rejoinder-error");
/// The cursor from which a reader goes on, where events after its own are gone.
const REJOINDER_RESUME: HeaderName = HeaderName::from_static("rejoinder-resume");

/// Why a request is refused: by a use case, or at the edge, before one is called.
#[derive(Debug)]
pub(super) enum Problem {
    Domain(Error),
    Transport(TransportError),
}

/// What no use case sees; the same at both doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportError {
    RouteNotFound,
    MethodNotAllowed,
    BodyTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// The client left while it sent its body.
    BodyIncomplete,
    /// A fault of ours.
    Panic,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Domain(error)
    }
}

impl From<TransportError> for Problem {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl TransportError {
    fn code(self) -> &'static str {
        match self {
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::Panic => "internal_error",
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::RouteNotFound => "There is no such route.".to_owned(),
            Self::MethodNotAllowed => "This method is not allowed here.".to_owned(),
            Self::BodyTooLarge { limit } => {
                format!("The request body must not be greater than {} KiB.", limit / 1024)
            }
            Self::BodyTimeout => "The request body did not arrive in time.".to_owned(),
            Self::BodyIncomplete => "The request body is incomplete.".to_owned(),
            Self::Panic => "The server failed to process the request.".to_owned(),
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyIncomplete => StatusCode::BAD_REQUEST,
            Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What is left of the body must not be read as the next request.
    fn closes_connection(self) -> bool {
        match self {
            Self::BodyTooLarge { .. } | Self::BodyTimeout | Self::BodyIncomplete => true,
            Self::RouteNotFound | Self::MethodNotAllowed | Self::Panic => false,
        }
    }
}

impl Problem {
    /// For the `Rejoinder-Error` header.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Domain(error) => error.code(),
            Self::Transport(error) => error.code(),
        }
    }

    pub(super) fn status<E: Envelope>(&self) -> StatusCode {
        match self {
            Self::Domain(error) => E::status(error),
            Self::Transport(error) => error.status(),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REJOINDER_ERROR, HeaderValue::from_static(self.code()));
        match self {
            Self::Domain(Error::CursorExpired { resume }) => {
                headers.insert(REJOINDER_RESUME, HeaderValue::from(*resume));
            }
            Self::Domain(error) => {
                if let Some(wait) = retry_after(error) {
                    headers.insert(header::RETRY_AFTER, HeaderValue::from(ceil_seconds(wait)));
                }
                if matches!(error, Error::Unauthenticated) {
                    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
            }
            Self::Transport(error) if error.closes_connection() => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Transport(_) => {}
        }
        headers
    }
}

/// When a conversation that is busy is worth another try.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::LimitReached { retry_after }
        | Error::Overloaded { retry_after, .. }
        | Error::IdempotencyKeyInFlight { retry_after } => Some(*retry_after),
        Error::Processing(Failure::ConversationBusy) => Some(BUSY_RETRY_AFTER),
        Error::Invalid(_)
        | Error::Unauthenticated
        | Error::MissingScope(_)
        | Error::OriginRefused
        | Error::NotFound { .. }
        | Error::CursorExpired { .. }
        | Error::DeliveryUnderWay
        | Error::InsufficientBalance
        | Error::Processing(_)
        | Error::IdempotencyKeyReused
        | Error::IdempotencyKeyMalformed
        | Error::Conflict(_)
        | Error::NotConfigured(_)
        | Error::Unavailable { .. }
        | Error::Internal { .. } => None,
    }
}

/// Seconds to wait, rounded up, at least one.
pub(super) fn ceil_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// A problem in the envelope `E`.
#[derive(Debug)]
pub(super) struct ApiError<E> {
    problem: Problem,
    envelope: PhantomData<fn() -> E>,
}

impl<E, P: Into<Problem>> From<P> for ApiError<E> {
    fn from(problem: P) -> Self {
        Self { problem: problem.into(), envelope: PhantomData }
    }
}

/// The error behind an answer, for the one place that logs it.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) Arc<Error>);

impl<E: Envelope> IntoResponse for ApiError<E> {
    fn into_response(self) -> Response {
        let status = self.problem.status::<E>();
        let mut response = (status, self.problem.headers(), E::body(&self.problem)).into_response();
        if let Problem::Domain(error @ (Error::Unavailable { .. } | Error::Internal { .. })) = self.problem {
            response.extensions_mut().insert(Cause(Arc::new(error)));
        }
        response
    }
}

/// Where no route is.
pub(super) async fn route_not_found<E: Envelope>() -> ApiError<E> {
    TransportError::RouteNotFound.into()
}

/// Where the route has no such method; the router adds `Allow`.
pub(super) async fn method_not_allowed<E: Envelope>() -> ApiError<E> {
    TransportError::MethodNotAllowed.into()
}

/// What a panic of a handler is answered with; its text went to the log.
pub(super) fn handle_panic<E: Envelope>(_panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    ApiError::<E>::from(TransportError::Panic).into_response()
}
