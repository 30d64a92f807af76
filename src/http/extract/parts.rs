//! Extractors of path parameters.

use std::convert::Infallible;

use axum::RequestPartsExt as _;
use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

/// The first id in the path, as it was sent. One that is not UTF-8 becomes a name that no resource has.
#[derive(Debug)]
pub(in crate::http) struct PathParam(pub(in crate::http) String);

impl<S: Send + Sync> FromRequestParts<S> for PathParam {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let params = parts.extract::<RawPathParams>().await;
        let first = params.iter().flatten().next().map(|(_, text)| text.to_owned());
        Ok(Self(first.unwrap_or_else(|| char::REPLACEMENT_CHARACTER.to_string())))
    }
}

/// The two ids in the path, the outer one first, as they were sent.
#[derive(Debug)]
pub(in crate::http) struct NestedPathParams(pub(in crate::http) String, pub(in crate::http) String);

impl<S: Send + Sync> FromRequestParts<S> for NestedPathParams {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let params = parts.extract::<RawPathParams>().await;
        let mut names = params.iter().flatten().map(|(_, text)| text.to_owned());
        let unknown = || char::REPLACEMENT_CHARACTER.to_string();
        Ok(Self(names.next().unwrap_or_else(unknown), names.next().unwrap_or_else(unknown)))
    }
}
