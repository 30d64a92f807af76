//! The extractor of a query. Unknown parameters are refused before, by `http::query`.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, Query};
use http::Uri;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::domain::error::Error;
use crate::http::envelope::{ApiError, Platform, RouteOptions};

/// The query, whose fields are strings.
#[derive(Debug)]
pub(in crate::http) struct QueryParams<T, O = Platform>(
    pub(in crate::http) T,
    pub(in crate::http) PhantomData<fn() -> O>,
);

impl<T: DeserializeOwned, O: RouteOptions, S: Send + Sync> FromRequestParts<S> for QueryParams<T, O> {
    type Rejection = ApiError<O>;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError<O>> {
        // Every field is an optional string, so only a repeated one is an error.
        let repeated = |_| Error::invalid("query", "A field of the query may be given once only.");
        let Query(fields) = Query::try_from_uri(&parts.uri).map_err(repeated)?;
        Ok(Self(fields, PhantomData))
    }
}

/// The names of the parameters in a query, decoded, in their order.
pub(in crate::http) fn query_names(uri: &Uri) -> Vec<String> {
    let Ok(Query(sent)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Vec::new() };
    sent.into_iter().map(|(name, _)| name).collect()
}
