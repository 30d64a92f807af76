//! Extractors of path parameters and of the query.

use std::convert::Infallible;
use std::marker::PhantomData;

use axum::RequestPartsExt as _;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::Uri;
use http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::domain::error::Error;
use crate::http::envelope::{ApiError, Platform, RouteOptions};

/// The only id in the path, as it was sent. One that is not UTF-8 becomes a name that no resource has.
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

/// The query, whose fields are strings.
#[derive(Debug)]
pub(in crate::http) struct QueryParams<T, O = Platform>(
    pub(in crate::http) T,
    pub(in crate::http) PhantomData<fn() -> O>,
);

impl<T: DeserializeOwned + IntoParams, O: RouteOptions, S: Send + Sync> FromRequestParts<S>
    for QueryParams<T, O>
{
    type Rejection = ApiError<O>;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError<O>> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(fields)) => Ok(Self(fields, PhantomData)),
            Err(_) => Err(query_error::<T>(&parts.uri).into()),
        }
    }
}

/// The query of a list that filters by metadata: the other parameters, and the key and value of each `metadata[KEY]=VALUE`.
#[derive(Debug)]
pub(in crate::http) struct FilterParams<T>(pub(in crate::http) T, pub(in crate::http) Vec<(String, String)>);

impl<T: DeserializeOwned + IntoParams, S: Send + Sync> FromRequestParts<S> for FilterParams<T> {
    type Rejection = ApiError<Platform>;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let mut metadata = Vec::new();
        let mut others = Vec::new();
        for parameter in query.split('&') {
            match metadata_parameter(parameter) {
                Some(field) => metadata.push(field),
                None => others.push(parameter),
            }
        }
        let uri = parameters(&others.join("&"));
        match Query::try_from_uri(&uri) {
            Ok(Query(fields)) => Ok(Self(fields, metadata)),
            Err(_) => Err(query_error::<T>(&uri).into()),
        }
    }
}

/// A query by itself.
fn parameters(query: &str) -> Uri {
    Uri::try_from(format!("/?{query}")).unwrap_or_default()
}

/// The key and the value of a parameter `metadata[KEY]=VALUE`.
fn metadata_parameter(parameter: &str) -> Option<(String, String)> {
    let Query(mut fields) = Query::<Vec<(String, String)>>::try_from_uri(&parameters(parameter)).ok()?;
    let (name, value) = fields.pop()?;
    let key = name.strip_prefix("metadata[")?.strip_suffix(']')?;
    Some((key.to_owned(), value))
}

/// The error of a query that has a parameter twice, or one that the route does not know.
fn query_error<T: IntoParams>(uri: &Uri) -> Error {
    let known: Vec<String> = T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect();
    let sent = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(sent)| sent).unwrap_or_default();
    match sent.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => {
            let known: Vec<_> = known.iter().map(|name| format!("'{name}'")).collect();
            let text = format!("Unknown query parameter '{name}'. Known parameters: {}.", known.join(", "));
            Error::invalid("query", text)
        }
        None => Error::invalid("query", "A field of the query may be given once only."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metadata_parameter_has_a_key_in_brackets() {
        let field = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));

        assert_eq!(metadata_parameter("metadata[plan]=pro"), field("plan", "pro"));
        assert_eq!(metadata_parameter("metadata%5Ba%5D%5D=%26+b"), field("a]", "& b"));
        assert_eq!(metadata_parameter("metadata[]="), field("", ""));
        for other in ["", "metadata=pro", "metadata[plan=pro", "metadata.plan=pro", "q=metadata[a]", "%"] {
            assert_eq!(metadata_parameter(other), None, "{other}");
        }
    }
}
