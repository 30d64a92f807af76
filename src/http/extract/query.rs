//! The extractor of a query. Unknown parameters are refused before, by the extractor of the caller (`http::query`).

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, Query};
use http::Uri;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::domain::error::Error;
use crate::domain::ignored_names::encode_name;
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
        let Query(fields) = Query::try_from_uri(&parts.uri).map_err(|_| repeated(&parts.uri))?;
        Ok(Self(fields, PhantomData))
    }
}

/// The names of the parameters in a query, decoded, in their order.
pub(in crate::http) fn query_names(uri: &Uri) -> Vec<String> {
    let Ok(Query(sent)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Vec::new() };
    sent.into_iter().map(|(name, _)| name).collect()
}

/// The query of a list that filters by metadata: the other parameters, and the key and value of each `metadata[KEY]=VALUE`.
#[derive(Debug)]
pub(in crate::http) struct FilterParams<T>(pub(in crate::http) T, pub(in crate::http) Vec<(String, String)>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for FilterParams<T> {
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
        let others = parameters(&others.join("&"));
        let Query(fields) = Query::try_from_uri(&others).map_err(|_| repeated(&others))?;
        Ok(Self(fields, metadata))
    }
}

/// The error of a query whose fields are all optional strings: only a repeated one is an error.
fn repeated(uri: &Uri) -> Error {
    let names = query_names(uri);
    let is_repeated = |(index, name): &(usize, &String)| names[..*index].contains(name);
    let name =
        names.iter().enumerate().find(is_repeated).map_or_else(String::new, |(_, name)| encode_name(name));
    Error::invalid("query", format!("Query parameter '{name}' may be given only once."))
}

/// A query by itself.
fn parameters(query: &str) -> Uri {
    Uri::try_from(format!("/?{query}")).unwrap_or_default()
}

/// The key and the value of a parameter `metadata[KEY]=VALUE`.
fn metadata_parameter(parameter: &str) -> Option<(String, String)> {
    let Query(mut fields) = Query::<Vec<(String, String)>>::try_from_uri(&parameters(parameter)).ok()?;
    let (name, value) = fields.pop()?;
    Some((metadata_key(&name)?.to_owned(), value))
}

fn metadata_key(name: &str) -> Option<&str> {
    name.strip_prefix("metadata[")?.strip_suffix(']')
}

/// The parameter that a name in a query belongs to: `metadata` for `metadata[KEY]`, otherwise the name.
pub(in crate::http) fn parameter_name(name: &str) -> &str {
    if metadata_key(name).is_some() { "metadata" } else { name }
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
        assert_eq!((parameter_name("metadata[plan]"), parameter_name("q")), ("metadata", "q"));
    }
}
