//! Request bodies: read whole, bounded in size and time, and checked.

use std::marker::PhantomData;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::account::ConfigWrite;
use super::query::query_names;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::ignored_names::{IgnoredNames, NameSource};
use crate::domain::knowledge::MAX_FILE;
use crate::fair_semaphore::FairPermit;
use crate::http::describe::{ErrorCase, ErrorSet};
use crate::http::envelope::{ApiError, Envelope as _, Platform, RouteOptions};
use crate::http::error::TransportError;
use crate::http::fields::{self, RawFields, Violation, example_error, read, read_object};
use crate::http::state::AppState;

/// A body of at most [`RouteOptions::MAX_BODY`] bytes.
#[derive(Debug)]
pub(in crate::http) struct Body<O>(pub(in crate::http) Bytes, pub(in crate::http) PhantomData<fn() -> O>);

impl<O: RouteOptions> FromRequest<AppState> for Body<O> {
    type Rejection = ApiError<O>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<O>> {
        if O::REQUIRES_JSON && !is_json(request.headers()) {
            return Err(
                Error::invalid("content-type", "Header 'Content-Type' must be application/json.").into()
            );
        }
        Ok(Self(collect::<O>(request, state).await?, PhantomData))
    }
}

/// Reads a body of at most [`RouteOptions::MAX_BODY`] bytes.
async fn collect<O: RouteOptions>(request: Request, state: &AppState) -> Result<Bytes, ApiError<O>> {
    let limit = O::MAX_BODY;
    let declared = hyper::body::Body::size_hint(request.body()).lower();
    if usize::try_from(declared).is_ok_and(|declared| declared > limit) {
        return Err(TransportError::BodyTooLarge { limit }.into());
    }
    let reading = Limited::new(request.into_body(), limit).collect();
    match tokio::time::timeout(state.body_timeout, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(TransportError::BodyTooLarge { limit }.into())
        }
        Ok(Err(_)) => Err(TransportError::BodyIncomplete.into()),
        Err(_) => Err(TransportError::BodyTimeout.into()),
    }
}

impl<O: RouteOptions> ErrorSet for Body<O> {
    fn cases() -> Vec<ErrorCase> {
        let limit = O::MAX_BODY;
        let size = match limit / 1024 {
            kib if kib >= 1024 => format!("{} MiB", kib / 1024),
            kib => format!("{kib} KiB"),
        };
        vec![ErrorCase::new(format!("The body exceeds {size}"), TransportError::BodyTooLarge { limit })]
    }
}

/// A checked body, with the bytes that were sent.
#[derive(Debug)]
pub(in crate::http) struct Input<T, O = Platform> {
    pub(in crate::http) value: T,
    pub(in crate::http) bytes: Bytes,
    /// For `Rejoinder-Warning`, if the route ignores unknown names: the fields, and the query parameters.
    pub(in crate::http) warning: Option<String>,
    options: PhantomData<fn() -> O>,
}

impl<T: fields::Request, O: RouteOptions> FromRequest<AppState> for Input<T, O> {
    type Rejection = ApiError<O>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<O>> {
        let uri = request.uri().clone();
        let Body(bytes, options) = Body::<O>::from_request(request, state).await?;
        let mut ignored = IgnoredNames::default();
        let checked = read::<O::Envelope, T>(&bytes, &mut ignored);
        if O::IGNORES_UNKNOWN_NAMES {
            ignored.extend(NameSource::Query, query_names(&uri));
        }
        let warning = ignored.to_header();
        match checked {
            Ok(value) => Ok(Self { value, bytes, warning, options }),
            Err(error) => Err(ApiError::from(error).with_warning(warning)),
        }
    }
}

impl<T: fields::Request, O: RouteOptions> ErrorSet for Input<T, O> {
    fn cases() -> Vec<ErrorCase> {
        let description = if T::IGNORES_UNKNOWN_FIELDS && O::Envelope::ACCEPTS_BODY_WITHOUT_FIELDS {
            "A field is invalid, or the body is not JSON and so has no fields"
        } else {
            "A field is invalid, or the body is not JSON"
        };
        let invalid = ErrorCase::new(description, example_error::<O::Envelope, T>());
        [invalid].into_iter().chain(Body::<O>::cases()).collect()
    }
}

/// A checked body that may be absent: then it counts as an empty object.
#[derive(Debug)]
pub(in crate::http) struct OptionalInput<T>(pub(in crate::http) T);

impl<T: fields::Request> FromRequest<AppState> for OptionalInput<T> {
    type Rejection = ApiError<Platform>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<Platform>> {
        if hyper::body::Body::is_end_stream(request.body()) {
            return Ok(Self(read::<Platform, T>(b"{}", &mut IgnoredNames::default())?));
        }
        let input = Input::<T>::from_request(request, state).await?;
        Ok(Self(input.value))
    }
}

/// The body of a route without input: empty or, as some clients send it, `{}`. Of any type; fields are refused by name.
#[derive(Debug)]
pub(in crate::http) struct NoInput<O = Platform>(PhantomData<fn() -> O>);

impl<O> fields::Request for NoInput<O> {
    const IGNORES_UNKNOWN_FIELDS: bool = false;
    const IS_UPDATE: bool = false;
    const CHOICE: &'static [&'static str] = &[];
    const EXCLUSIVE: Option<[&'static str; 2]> = None;
    const FIELDS: &'static [&'static str] = &[];

    fn check(_: &RawFields<'_>) -> Result<Self, Vec<(&'static str, Violation)>> {
        Ok(Self(PhantomData))
    }
}

impl<O: RouteOptions> FromRequest<AppState> for NoInput<O> {
    type Rejection = ApiError<O>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<O>> {
        if hyper::body::Body::is_end_stream(request.body()) {
            return Ok(Self(PhantomData));
        }
        let body = collect::<O>(request, state).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(PhantomData));
        }
        Ok(read::<O::Envelope, Self>(&body, &mut IgnoredNames::default())?)
    }
}

impl<O: RouteOptions> ErrorSet for NoInput<O> {
    fn cases() -> Vec<ErrorCase> {
        let unknown = Error::invalid("body", "Unknown field 'nme'. This route has none.");
        let invalid = ErrorCase::new("The body has fields, or is not JSON", unknown);
        [invalid].into_iter().chain(Body::<O>::cases()).collect()
    }
}

/// A body that is a JSON object, whose fields its use case checks.
#[derive(Debug)]
pub(in crate::http) struct ObjectBody<O = Platform>(
    pub(in crate::http) Map<String, Value>,
    pub(in crate::http) PhantomData<fn() -> O>,
);

impl<O: RouteOptions> FromRequest<AppState> for ObjectBody<O> {
    type Rejection = ApiError<O>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<O>> {
        let Body(bytes, options) = Body::<O>::from_request(request, state).await?;
        Ok(Self(read_object::<O::Envelope>(&bytes)?, options))
    }
}

impl<O: RouteOptions> ErrorSet for ObjectBody<O> {
    fn cases() -> Vec<ErrorCase> {
        let unknown = Error::invalid("body", "Unknown field 'promt'. Known fields: 'name', 'system_prompt'.");
        let invalid =
            ErrorCase::new("A field is invalid, missing or unknown, or the body is not JSON", unknown);
        [invalid].into_iter().chain(Body::<O>::cases()).collect()
    }
}

/// A key that may upload documents, with a permit for one: acquired before its body is read, released when the request is answered.
#[derive(Debug)]
pub(in crate::http) struct Upload(pub(in crate::http) Account, pub(in crate::http) FairPermit<WorkspaceId>);

impl FromRequestParts<AppState> for Upload {
    type Rejection = ApiError<Platform>;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let declared = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let ConfigWrite(account, _) = ConfigWrite::<Platform>::from_request_parts(parts, state).await?;
        // A larger one is refused when its body is read.
        let bytes = declared.unwrap_or(MAX_FILE).min(MAX_FILE);
        let permit = state.services.document_extractor.acquire_upload(account.workspace, bytes)?;
        Ok(Self(account, permit))
    }
}

/// Whether the body is declared as `application/json` or as a type that ends in `+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
