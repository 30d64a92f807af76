//! The envelopes of the two APIs: their status tables, their error bodies and their wording of field errors.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::{Problem, TransportError, ceil_seconds};
use super::fields::{Violation, quoted};
use super::response::{REJOINDER_WARNING, set_header};
use crate::domain::error::{Error, FieldError};
use crate::domain::failure::Failure;
use crate::domain::render::{platform_error, widget_error, widget_error_text};

/// The way in which an API answers errors.
pub(super) trait Envelope: Send + Sync + 'static {
    /// Whether an empty body counts as an empty object, and on a route that ignores unknown fields also any other body without
    /// readable fields: in the widget contract its required fields are then missing.
    const ACCEPTS_BODY_WITHOUT_FIELDS: bool;

    /// The API's status table.
    fn status(error: &Error) -> StatusCode;

    /// The API's error body.
    fn body(problem: &Problem) -> String;

    /// The API's wording of a field error.
    fn field_error(field: &str, violation: &Violation) -> String;
}

/// The options of a route: its envelope, and the bounds of its request body.
pub(super) trait RouteOptions: Send + Sync + 'static {
    type Envelope: Envelope;
    /// The largest request body, in bytes.
    const MAX_BODY: usize;
    /// Whether a body must be declared as JSON.
    const REQUIRES_JSON: bool;
    /// Whether unknown fields and query parameters are ignored, with `Rejoinder-Warning`, and not refused.
    const IGNORES_UNKNOWN_NAMES: bool = false;

    /// The status of an error; a route may answer some errors with its own.
    fn error_status(problem: &Problem) -> StatusCode {
        match problem {
            Problem::Domain(error) => Self::Envelope::status(error),
            Problem::Transport(error) => error.status(),
        }
    }

    /// The body of an error; a route may word some errors itself.
    fn error_body(problem: &Problem) -> String {
        Self::Envelope::body(problem)
    }
}

/// The widget API, `/api`.
#[derive(Debug)]
pub(super) enum Widget {}

impl RouteOptions for Widget {
    type Envelope = Self;
    const MAX_BODY: usize = 64 * 1024;
    const REQUIRES_JSON: bool = false;
}

impl Envelope for Widget {
    const ACCEPTS_BODY_WITHOUT_FIELDS: bool = true;

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::Invalid(_) | Error::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Unauthenticated | Error::InvalidIdentity(_) => StatusCode::UNAUTHORIZED,
            Error::MissingScope(_) | Error::OriginRefused | Error::TestRefused => StatusCode::FORBIDDEN,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::CursorExpired(_) => StatusCode::GONE,
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

    /// In the words of Laravel's validator.
    fn field_error(field: &str, violation: &Violation) -> String {
        let name = field.replace('_', " ");
        if let Violation::UnknownWord(_) = violation {
            return format!("The selected {name} is invalid.");
        }
        if let Violation::TooLarge { max_bytes } = violation {
            return format!("The {name} field must not be greater than {} kilobytes.", max_bytes / 1024);
        }
        format!("The {name} field {violation}")
    }
}

/// Laravel's body of a 422: the first error, the number of others, and all errors by field.
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

/// The platform API, `/v1`.
#[derive(Debug)]
pub(super) enum Platform {}

impl RouteOptions for Platform {
    type Envelope = Self;
    const MAX_BODY: usize = 256 * 1024;
    const REQUIRES_JSON: bool = true;
}

impl Envelope for Platform {
    const ACCEPTS_BODY_WITHOUT_FIELDS: bool = false;

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::Invalid(_) | Error::IdempotencyKeyMalformed | Error::InsufficientBalance => {
                StatusCode::BAD_REQUEST
            }
            Error::Unauthenticated | Error::InvalidIdentity(_) => StatusCode::UNAUTHORIZED,
            Error::MissingScope(_) | Error::OriginRefused | Error::TestRefused => StatusCode::FORBIDDEN,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::CursorExpired(_) => StatusCode::GONE,
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

    fn field_error(field: &str, violation: &Violation) -> String {
        if let Violation::Within(path, inner) = violation {
            return Self::field_error(&format!("{field}.{path}"), inner);
        }
        if let Violation::UnknownField(known) = violation {
            return format!("Unknown field '{field}'. Known fields: {}.", quoted(known));
        }
        format!("Field '{field}' {violation}")
    }
}

/// The platform API does not wait for replies, so only failures that refuse the request itself are ever answered.
fn platform_failure(failure: Failure) -> StatusCode {
    match failure {
        Failure::ConversationEnded => StatusCode::CONFLICT,
        Failure::WorkspaceSuspended => StatusCode::FORBIDDEN,
        Failure::ConversationBusy | Failure::ModelRateLimited | Failure::TokenBudgetExhausted => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Failure::Timeout
        | Failure::ModelUnavailable
        | Failure::ModelRefused
        | Failure::ModelUnreadable
        | Failure::TooManyToolCalls
        | Failure::ServiceUnavailable
        | Failure::InternalError
        | Failure::TooOld
        | Failure::TooManyTakeovers
        | Failure::DatabaseRestored => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A problem of a route with the options `O`, ready to be answered.
#[derive(Debug)]
pub(super) struct ApiError<O> {
    problem: Problem,
    /// For `Rejoinder-Warning`.
    warning: Option<String>,
    options: PhantomData<fn() -> O>,
}

impl<O, P: Into<Problem>> From<P> for ApiError<O> {
    fn from(problem: P) -> Self {
        Self { problem: problem.into(), warning: None, options: PhantomData }
    }
}

impl<O> ApiError<O> {
    /// The same error, with what of the request has no effect.
    pub(super) fn with_warning(self, warning: Option<String>) -> Self {
        Self { warning, ..self }
    }
}

/// The error behind a response, for the layer that logs it.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) Arc<Error>);

impl<O: RouteOptions> IntoResponse for ApiError<O> {
    fn into_response(self) -> Response {
        let status = O::error_status(&self.problem);
        let mut response = (status, self.problem.headers(), O::error_body(&self.problem)).into_response();
        set_header(response.headers_mut(), REJOINDER_WARNING, self.warning);
        if let Problem::Domain(error @ (Error::Unavailable { .. } | Error::Internal { .. })) = self.problem {
            response.extensions_mut().insert(Cause(Arc::new(error)));
        }
        response
    }
}

/// Answers a path without a route.
pub(super) async fn route_not_found<O: RouteOptions>() -> ApiError<O> {
    TransportError::RouteNotFound.into()
}

/// Answers a method that the route does not have; the router adds `Allow`.
pub(super) async fn method_not_allowed<O: RouteOptions>() -> ApiError<O> {
    TransportError::MethodNotAllowed.into()
}

/// Answers a panic of a handler, whose text is only logged.
pub(super) fn handle_panic<O: RouteOptions>(_panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    ApiError::<O>::from(TransportError::Panic).into_response()
}
