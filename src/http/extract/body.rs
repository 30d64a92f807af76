//! A request's whole body, bounded in size and in time.

use std::marker::PhantomData;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::error::Error;
use crate::http::envelope::{Envelope, Platform};
use crate::http::error::{ApiError, TransportError};
use crate::http::state::AppState;

/// A body of at most [`Envelope::MAX_BODY`] bytes.
#[derive(Debug)]
pub(in crate::http) struct Body<E>(pub(in crate::http) Bytes, pub(in crate::http) PhantomData<fn() -> E>);

impl<E: Envelope> FromRequest<AppState> for Body<E> {
    type Rejection = ApiError<E>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<E>> {
        if E::REQUIRES_JSON && !is_json(request.headers()) {
            return Err(
                Error::invalid("content-type", "Header 'Content-Type' must be application/json.").into()
            );
        }
        let limit = E::MAX_BODY;
        let declared = hyper::body::Body::size_hint(request.body()).lower();
        if usize::try_from(declared).is_ok_and(|declared| declared > limit) {
            return Err(TransportError::BodyTooLarge { limit }.into());
        }
        let reading = Limited::new(request.into_body(), limit).collect();
        match tokio::time::timeout(state.body_timeout, reading).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes(), PhantomData)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(TransportError::BodyTooLarge { limit }.into())
            }
            Ok(Err(_)) => Err(TransportError::BodyIncomplete.into()),
            Err(_) => Err(TransportError::BodyTimeout.into()),
        }
    }
}

/// A body as [`Body`] reads it, or none at all, which counts as an empty object.
#[derive(Debug)]
pub(in crate::http) struct OptionalBody<E>(
    pub(in crate::http) Bytes,
    pub(in crate::http) PhantomData<fn() -> E>,
);

impl<E: Envelope> FromRequest<AppState> for OptionalBody<E> {
    type Rejection = ApiError<E>;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError<E>> {
        if hyper::body::Body::is_end_stream(request.body()) {
            return Ok(Self(Bytes::from_static(b"{}"), PhantomData));
        }
        let Body(bytes, envelope) = Body::<E>::from_request(request, state).await?;
        Ok(Self(bytes, envelope))
    }
}

/// A place for a document, taken before its body is read, and held until the request is answered.
#[derive(Debug)]
pub(in crate::http) struct UploadPermit(
    #[expect(dead_code, reason = "released on drop")] OwnedSemaphorePermit,
);

impl FromRequestParts<AppState> for UploadPermit {
    type Rejection = ApiError<Platform>;

    async fn from_request_parts(_parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self(state.services.document_extractor.acquire_upload()?))
    }
}

/// `application/json`, or another type that ends in `+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
