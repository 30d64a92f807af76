//! The doors' envelopes: for each, the one table of its statuses, and the body of its errors.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::{Problem, ceil_seconds};
use crate::domain::error::{Error, FieldError};
use crate::domain::failure::Failure;
use crate::domain::knowledge::{MAX_FILE, MAX_TEXT};
use crate::domain::render::{platform_error, widget_error, widget_error_text};

/// How a door says that a request is not answered.
pub(super) trait Envelope: Send + Sync + 'static {
    /// The largest body that the door reads, in bytes.
    const MAX_BODY: usize;
    /// Whether a body must be declared as JSON.
    const REQUIRES_JSON: bool;

    /// The door's status table.
    fn status(error: &Error) -> StatusCode;

    /// The door's error body.
    fn body(problem: &Problem) -> String;
}

/// The widget door, `/api`.
#[derive(Debug)]
pub(super) enum Widget {}

impl Envelope for Widget {
    const MAX_BODY: usize = 64 * 1024;
    const REQUIRES_JSON: bool = false;

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::Invalid(_) | Error::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Unauthenticated => StatusCode::UNAUTHORIZED,
            Error::MissingScope(_) | Error::OriginRefused => StatusCode::FORBIDDEN,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::CursorExpired { .. } => StatusCode::GONE,
            Error::InsufficientBalance
            | Error::Processing(_)
            | Error::IdempotencyKeyMalformed
            | Error::Unavailable { .. } => StatusCode::BAD_REQUEST,
            Error::LimitReached { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::IdempotencyKeyInFlight { .. } | Error::DeliveryUnderWay | Error::Conflict(_) => {
                StatusCode::CONFLICT
            }
            Error::NotConfigured(_) => StatusCode::NOT_IMPLEMENTED,
            Error::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Invalid(fields)) => laravel(fields),
            Problem::Domain(Error::LimitReached { retry_after }) => {
                json!({"message": "Too Many Attempts.", "retry_after": ceil_seconds(*retry_after)})
                    .to_string()
            }
            Problem::Domain(error) => widget_error(&widget_error_text(error)),
            Problem::Transport(error) => widget_error(&error.text()),
        }
    }
}

/// Laravel's shape of a 422: the first error, how many more, and all of them by field.
fn laravel(errors: &[FieldError]) -> String {
    let first = errors.first().map_or("The given data was invalid.", |first| first.text.as_str());
    let message = match errors.len() {
        0 | 1 => first.to_owned(),
        2 => format!("{first} (and 1 more error)"),
        count => format!("{first} (and {} more errors)", count - 1),
    };
    let mut by_field: BTreeMap<usize, (&str, Vec<Value>)> = BTreeMap::new();
    for (index, error) in errors.iter().enumerate() {
        let position = errors.iter().position(|other| other.field == error.field).unwrap_or(index);
        by_field.entry(position).or_insert((error.field, Vec::new())).1.push(error.text.clone().into());
    }
    let by_field: Map<String, Value> =
        by_field.into_values().map(|(field, texts)| (field.to_owned(), texts.into())).collect();
    json!({"message": message, "errors": by_field}).to_string()
}

/// `POST /api/conversations/{uuid}/messages`, whose contract answers every failure with 400.
#[derive(Debug)]
pub(super) enum ReplyOptions {}

impl Envelope for ReplyOptions {
    const MAX_BODY: usize = Widget::MAX_BODY;
    const REQUIRES_JSON: bool = Widget::REQUIRES_JSON;

    fn status(error: &Error) -> StatusCode {
        if matches!(error, Error::Internal { .. }) { StatusCode::BAD_REQUEST } else { Widget::status(error) }
    }

    fn body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Internal { .. }) => {
                widget_error(&widget_error_text(&Error::Processing(Failure::InternalError)))
            }
            Problem::Domain(_) | Problem::Transport(_) => Widget::body(problem),
        }
    }
}

/// The widget door's switch of the AI, which says less of a key that does not hold.
#[derive(Debug)]
pub(super) enum AutomateOptions {}

impl Envelope for AutomateOptions {
    const MAX_BODY: usize = Widget::MAX_BODY;
    const REQUIRES_JSON: bool = Widget::REQUIRES_JSON;

    fn status(error: &Error) -> StatusCode {
        Widget::status(error)
    }

    fn body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Unauthenticated) => json!({"error": "Unauthorized"}).to_string(),
            Problem::Domain(_) | Problem::Transport(_) => Widget::body(problem),
        }
    }
}

/// The platform door, `/v1`.
#[derive(Debug)]
pub(super) enum Platform {}

impl Envelope for Platform {
    const MAX_BODY: usize = 256 * 1024;
    const REQUIRES_JSON: bool = true;

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::Invalid(_) | Error::IdempotencyKeyMalformed | Error::InsufficientBalance => {
                StatusCode::BAD_REQUEST
            }
            Error::Unauthenticated => StatusCode::UNAUTHORIZED,
            Error::MissingScope(_) | Error::OriginRefused => StatusCode::FORBIDDEN,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::CursorExpired { .. } => StatusCode::GONE,
            Error::IdempotencyKeyInFlight { .. } | Error::DeliveryUnderWay | Error::Conflict(_) => {
                StatusCode::CONFLICT
            }
            Error::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Error::LimitReached { .. } | Error::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Processing(failure) => platform_failure(*failure),
            Error::NotConfigured(_) => StatusCode::NOT_IMPLEMENTED,
            Error::Unavailable { .. } | Error::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Unavailable { .. }) => {
                platform_error("The service is temporarily unavailable. Please retry.")
            }
            Problem::Domain(error) => platform_error(&error.to_string()),
            Problem::Transport(error) => platform_error(&error.text()),
        }
    }
}

/// The same door where a body is a file.
#[derive(Debug)]
pub(super) enum UploadOptions {}

impl Envelope for UploadOptions {
    const MAX_BODY: usize = MAX_FILE;
    const REQUIRES_JSON: bool = false;

    fn status(error: &Error) -> StatusCode {
        Platform::status(error)
    }

    fn body(problem: &Problem) -> String {
        Platform::body(problem)
    }
}

/// The same door where a body is JSON with a document's text, which escapes may make longer.
#[derive(Debug)]
pub(super) enum TextUploadOptions {}

impl Envelope for TextUploadOptions {
    const MAX_BODY: usize = 2 * MAX_TEXT;
    const REQUIRES_JSON: bool = true;

    fn status(error: &Error) -> StatusCode {
        Platform::status(error)
    }

    fn body(problem: &Problem) -> String {
        Platform::body(problem)
    }
}

/// This door waits for no reply, so only what refuses the request itself is ever answered.
fn platform_failure(failure: Failure) -> StatusCode {
    match failure {
        Failure::ConversationEnded => StatusCode::CONFLICT,
        Failure::ConversationBusy | Failure::ModelRateLimited => StatusCode::TOO_MANY_REQUESTS,
        Failure::Timeout
        | Failure::ModelUnavailable
        | Failure::ModelRefused
        | Failure::ModelUnreadable
        | Failure::TooManyToolCalls
        | Failure::ServiceUnavailable
        | Failure::InternalError
        | Failure::TooOld
        | Failure::TooManyTakeovers => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `POST /v1/messages`, whose contract has its own text for a request that failed.
#[derive(Debug)]
pub(super) enum EnqueueOptions {}

impl Envelope for EnqueueOptions {
    const MAX_BODY: usize = Platform::MAX_BODY;
    const REQUIRES_JSON: bool = Platform::REQUIRES_JSON;

    fn status(error: &Error) -> StatusCode {
        Platform::status(error)
    }

    fn body(problem: &Problem) -> String {
        match problem {
            Problem::Domain(Error::Unavailable { .. } | Error::Internal { .. }) => {
                platform_error("Failed to enqueue message. Please retry.")
            }
            Problem::Domain(_) | Problem::Transport(_) => Platform::body(problem),
        }
    }
}
