//! The errors of routes in the `OpenAPI` document. An error is declared once, as the error that is answered with its description;
//! each example is rendered by the route's own envelope.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};

use super::envelope::RouteOptions;
use super::error::Problem;
use super::openapi::{describe_header, error_schema};
use super::query::unknown_parameter;
use crate::domain::error::Error;
use crate::domain::event::{CursorExpiry, EventCursor, ExpiredCursor};
use crate::domain::failure::{Discard, Failure};
use crate::domain::ids::ResourceId;
use crate::domain::schema::words;

/// An error as a route answers it, with a description of its cause.
pub(super) struct ErrorCase {
    pub(super) description: String,
    pub(super) problem: Problem,
}

impl ErrorCase {
    pub(super) fn new(description: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self { description: description.into(), problem: problem.into() }
    }
}

/// Errors that a route may answer with: one, those of an extractor, or a tuple of sets.
pub(super) trait ErrorSet {
    fn cases() -> Vec<ErrorCase>;
}

macro_rules! tuple_sets {
    ($($set:ident)+) => {
        impl<$($set: ErrorSet),+> ErrorSet for ($($set,)+) {
            fn cases() -> Vec<ErrorCase> {
                [$($set::cases()),+].into_iter().flatten().collect()
            }
        }
    };
}

impl ErrorSet for () {
    fn cases() -> Vec<ErrorCase> {
        Vec::new()
    }
}

tuple_sets!(A);
tuple_sets!(A B);
tuple_sets!(A B C);
tuple_sets!(A B C D);
tuple_sets!(A B C D E);
tuple_sets!(A B C D E F);
tuple_sets!(A B C D E F G);
tuple_sets!(A B C D E F G H);

/// Declares sets of errors, each `description => error`.
macro_rules! error_sets {
    ($($(#[$doc:meta])* $name:ident { $($description:expr => $problem:expr,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(in crate::http) struct $name;

            impl $crate::http::describe::ErrorSet for $name {
                fn cases() -> Vec<$crate::http::describe::ErrorCase> {
                    vec![$($crate::http::describe::ErrorCase::new($description, $problem)),+]
                }
            }
        )+
    };
}

pub(super) use error_sets;

error_sets! {
    /// The Idempotency-Key header, on either API.
    IdempotencyErrors {
        "The Idempotency-Key header is malformed" => Error::IdempotencyKeyMalformed,
        "The Idempotency-Key was used with another request" => Error::IdempotencyKeyReused,
    }

    /// A query parameter that the route does not have.
    UnknownParameter {
        "The route does not have the query parameter" => unknown_parameter("limt", &[]),
    }

    /// The server has no capacity for another request.
    Overloaded {
        "The server is overloaded; see Retry-After" => Error::Overloaded {
            text: "The server is overloaded",
            retry_after: Duration::from_secs(1),
        },
    }

    /// A rate, daily or spending limit.
    LimitReached {
        "A limit is reached; see Retry-After" => Error::LimitReached { retry_after: Duration::from_secs(3) },
    }

    /// A fault of this server.
    Internal {
        "The server failed to process the request" => Error::internal("a fault of this server"),
    }

    /// The database, for a request that changes nothing.
    Unavailable {
        "The database is unavailable" => Error::Unavailable { outcome_unknown: false, source: None },
        "The server failed to process the request" => Error::internal("a fault of this server"),
    }

    /// The database, for a request that writes.
    WriteUnavailable {
        "The database is unavailable; nothing was changed" => Error::Unavailable { outcome_unknown: false, source: None },
        "The request may have been carried out" => Error::Unavailable {
            outcome_unknown: true,
            source: None,
        },
        "The server failed to process the request" => Error::internal("a fault of this server"),
    }

    /// A workspace that accepts no messages and no changes.
    WorkspaceSuspended {
        "The operator has suspended the workspace" => Error::Processing(Failure::WorkspaceSuspended),
    }

    /// A workspace file owns the resource.
    ManagedByFile {
        "The slug is taken, or the resource is managed by a workspace file" => Error::Conflict(
            "The document 'returns' is set up by a workspace file: change it there.".to_owned(),
        ),
    }

    /// A cursor of the event feed.
    EventsRemoved {
        "The events after this cursor were removed, or it is from before a restore of the database" => Error::CursorExpired(ExpiredCursor {
            expiry: CursorExpiry::Removed,
            resume: EventCursor { epoch: 0, number: 1041 },
        }),
    }
}

/// The resource does not exist, or not in this workspace.
#[derive(Debug)]
pub(super) struct NotFound<R>(PhantomData<R>);

impl<R: ResourceId> ErrorSet for NotFound<R> {
    fn cases() -> Vec<ErrorCase> {
        let description = format!("{} not found", R::NAME);
        vec![ErrorCase::new(description, R::not_found(R::EXAMPLE))]
    }
}

/// The errors of a route with the options `O`, for `#[utoipa::path]`.
#[derive(Debug)]
pub(super) struct Errors<O, S>(PhantomData<(O, S)>);

impl<O: RouteOptions, S: ErrorSet> IntoResponses for Errors<O, S> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut cases = if O::IGNORES_UNKNOWN_NAMES { Vec::new() } else { UnknownParameter::cases() };
        cases.extend(S::cases());
        add_retry_advice(&mut cases);
        let mut by_status: BTreeMap<StatusCode, Vec<ErrorCase>> = BTreeMap::new();
        for case in cases {
            by_status.entry(O::error_status(&case.problem)).or_default().push(case);
        }
        let entry =
            |(status, cases): (StatusCode, Vec<_>)| (status.as_str().to_owned(), response::<O>(&cases));
        by_status.into_iter().map(entry).collect()
    }
}

/// Completes the description of an unknown outcome. Exactly the routes that read the `Idempotency-Key` header can refuse it, so
/// its error tells whether a retry is safe.
fn add_retry_advice(cases: &mut [ErrorCase]) {
    let reads_key =
        |case: &ErrorCase| matches!(case.problem, Problem::Domain(Error::IdempotencyKeyMalformed));
    let advice = if cases.iter().any(reads_key) {
        "; a retry is safe only with the same Idempotency-Key"
    } else {
        "; check whether it took effect before you repeat it"
    };
    for case in cases {
        if matches!(case.problem, Problem::Domain(Error::Unavailable { outcome_unknown: true, .. })) {
            case.description.push_str(advice);
        }
    }
}

/// The response of one status, with an example of each error under its code, and the headers that these errors are sent with.
fn response<O: RouteOptions>(cases: &[ErrorCase]) -> RefOr<Response> {
    let body = |case: &ErrorCase| serde_json::from_str(&O::error_body(&case.problem)).unwrap_or_default();
    let bodies: Vec<Value> = cases.iter().map(body).collect();
    let schema = error_schema(&bodies);
    let examples = cases.iter().zip(bodies).map(|(case, body)| {
        let example = ExampleBuilder::new().summary(case.description.as_str()).value(Some(body));
        (case.problem.code(), example.build())
    });
    let descriptions: Vec<&str> = cases.iter().map(|case| case.description.as_str()).collect();
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    let response =
        ResponseBuilder::new().description(descriptions.join(". Or: ")).content("application/json", content);
    let mut headers: BTreeMap<&str, Header> = cases.iter().flat_map(headers).collect();
    if let Some(header) = headers.get_mut("Rejoinder-Error") {
        header.schema = Some(words(codes(cases)).into());
    }
    if O::IGNORES_UNKNOWN_NAMES {
        let header = HeaderBuilder::new().description(Some(WARNING)).build();
        headers.insert("Rejoinder-Warning", header);
    }
    let response =
        headers.into_iter().fold(response, |response, (name, header)| response.header(name, header));
    RefOr::T(response.build())
}

/// The headers that an error is sent with.
fn headers(case: &ErrorCase) -> Vec<(&'static str, Header)> {
    case.problem.headers().keys().filter_map(|name| describe_header(name.as_str())).collect()
}

/// The description of `Rejoinder-Warning` in errors.
const WARNING: &str = "What was sent and has no effect, if the body was read: at most 8 names, percent-encoded, then `+` and the \
     number of the others";

/// The codes of these errors. A message whose turn failed has the code of the failure or of the discard, whichever it is.
fn codes(cases: &[ErrorCase]) -> Vec<&'static str> {
    let mut codes: Vec<_> = cases.iter().map(|case| case.problem.code()).collect();
    if cases.iter().any(|case| matches!(case.problem, Problem::Domain(Error::Processing(_)))) {
        codes.extend(Failure::ALL.iter().map(|failure| failure.as_str()));
        codes.extend(Discard::ALL.iter().map(|discard| discard.as_str()));
    }
    codes.sort_unstable();
    codes.dedup();
    codes
}
