//! The errors of requests: those of use cases, and those of the transport.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::domain::error::Error;
use crate::domain::failure::Failure;

/// The stable code of an error.
pub(super) const REJOINDER_ERROR: HeaderName = HeaderName::from_static("rejoinder-error");
/// The cursor to resume from, where the reader's own cannot be.
const REJOINDER_RESUME: HeaderName = HeaderName::from_static("rejoinder-resume");

/// An error of a request: from a use case, or from the transport before any use case is called.
#[derive(Debug)]
pub(super) enum Problem {
    Domain(Error),
    Transport(TransportError),
}

/// An error that no use case sees; both APIs word it alike.
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
    /// A handler panicked.
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

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyIncomplete => StatusCode::BAD_REQUEST,
            Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the connection has to close, because the rest of the body would be read as the next request.
    fn closes_connection(self) -> bool {
        match self {
            Self::BodyTooLarge { .. } | Self::BodyTimeout | Self::BodyIncomplete => true,
            Self::RouteNotFound | Self::MethodNotAllowed | Self::Panic => false,
        }
    }
}

impl Problem {
    /// The value of the `Rejoinder-Error` header.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Domain(error) => error.code(),
            Self::Transport(error) => error.code(),
        }
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REJOINDER_ERROR, HeaderValue::from_static(self.code()));
        match self {
            Self::Domain(Error::CursorExpired(expired)) => {
                // Digits, and perhaps a hyphen.
                if let Ok(resume) = HeaderValue::try_from(expired.resume.to_string()) {
                    headers.insert(REJOINDER_RESUME, resume);
                }
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

/// The delay after which a busy conversation is worth another attempt.
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
        | Error::TestRefused
        | Error::InvalidIdentity(_)
        | Error::NotFound { .. }
        | Error::CursorExpired(_)
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

/// Seconds to wait: rounded up, at least one.
pub(super) fn ceil_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
