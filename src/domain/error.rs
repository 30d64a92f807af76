//! Errors of requests, independent of HTTP. `Display` is always safe to show; internals are only in sources.

use std::time::Duration;

use super::event::ExpiredCursor;
use super::failure::Failure;
use super::identity::InvalidIdentity;

/// An invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub field: &'static str,
    /// A whole sentence, in the wording of the API.
    pub text: String,
}

/// A request that was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.first().map_or("The request is invalid.", |first| &first.text))]
    Invalid(Vec<FieldError>),
    /// A missing, malformed, unknown, revoked or expired key.
    #[error("Invalid or expired token.")]
    Unauthenticated,
    /// The scope that the key lacks.
    #[error("This key lacks the scope '{0}'.")]
    MissingScope(&'static str),
    #[error("This origin is not allowed.")]
    OriginRefused,
    /// A visitor may not create a test conversation with this assistant.
    #[error("A test conversation needs an API key, or an assistant with allow_test = true.")]
    TestRefused,
    /// The token of an identified visitor is not valid.
    #[error("The identity token is invalid: {0}.")]
    InvalidIdentity(InvalidIdentity),
    /// `name` is the id as it was sent.
    #[error("{resource} not found: {name}.")]
    NotFound { resource: &'static str, code: &'static str, name: String },
    /// A reader of events cannot continue at its cursor.
    #[error("{0}")]
    CursorExpired(ExpiredCursor),
    /// A delivery to resend is waiting for its first attempt, or being sent.
    #[error(
        "The delivery is under way: it is queued for its first attempt, or being sent. If that fails, send it again then."
    )]
    DeliveryUnderWay,
    #[error("Insufficient balance. Please top up your account.")]
    InsufficientBalance,
    /// The request cannot be processed; see [`Failure::detail`].
    #[error("{}", .0.detail())]
    Processing(Failure),
    /// A limit by rate, count, day or spending.
    #[error("Too Many Attempts.")]
    LimitReached { retry_after: Duration },
    /// A limit of this server is reached.
    #[error("{text}")]
    Overloaded { text: &'static str, retry_after: Duration },
    #[error("A request with this Idempotency-Key is still being processed")]
    IdempotencyKeyInFlight { retry_after: Duration },
    #[error("This Idempotency-Key was used with another request")]
    IdempotencyKeyReused,
    #[error("The Idempotency-Key header must have 1 to 255 printable ASCII characters")]
    IdempotencyKeyMalformed,
    /// The target of the request exists already, or is managed elsewhere.
    #[error("{0}")]
    Conflict(String),
    /// The server is not configured for this request.
    #[error("{0}")]
    NotConfigured(&'static str),
    /// The database is unavailable: the same request may succeed later. With `outcome_unknown`, the
    /// request may have been carried out.
    #[error("The service is temporarily unavailable")]
    Unavailable {
        outcome_unknown: bool,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A fault of this server: the same request fails again until the fault is repaired. A write may have been carried
    /// out.
    #[error("The server failed to process the request.")]
    Internal { source: Box<dyn std::error::Error + Send + Sync> },
}

impl Error {
    /// An error of one field.
    #[must_use]
    pub fn invalid(field: &'static str, text: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { field, text: text.into() }])
    }

    /// A fault of this server; `source` is logged and never sent.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { source: source.into() }
    }

    /// Whether the database or this server failed, and not the request.
    #[must_use]
    pub fn is_server_fault(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Internal { .. })
    }

    /// The stable code of the `Rejoinder-Error` header; one list, in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::Unauthenticated => "invalid_token",
            Self::MissingScope(_) => "missing_scope",
            Self::OriginRefused => "origin_refused",
            Self::TestRefused => "test_refused",
            Self::InvalidIdentity(_) => "invalid_identity",
            Self::NotFound { code, .. } => code,
            Self::CursorExpired(_) => "cursor_expired",
            Self::DeliveryUnderWay => "delivery_under_way",
            Self::InsufficientBalance => "insufficient_balance",
            Self::Processing(failure) => failure.as_str(),
            Self::LimitReached { .. } => "limit_reached",
            Self::Overloaded { .. } => "overloaded",
            Self::IdempotencyKeyInFlight { .. } => "idempotency_key_in_flight",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::IdempotencyKeyMalformed => "idempotency_key_malformed",
            Self::Conflict(_) => "conflict",
            Self::NotConfigured(_) => "not_configured",
            Self::Unavailable { outcome_unknown: true, .. } => "outcome_unknown",
            Self::Unavailable { outcome_unknown: false, .. } => "service_unavailable",
            Self::Internal { .. } => "internal_error",
        }
    }
}
