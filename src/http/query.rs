//! Query parameters that a route does not have. The APIs refuse them by name, once the caller may use the route: a route has those that
//! its `OpenAPI` declaration lists. Pages accept them, with `Rejoinder-Warning`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http::Method;
use http::request::Parts;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_axum::router::OpenApiRouter;

use super::extract::{parameter_name, query_names};
use super::response::{REJOINDER_WARNING, set_header};
use super::state::AppState;
use crate::domain::error::Error;
use crate::domain::ignored_names::{IgnoredNames, NameSource, encode_name};

/// The query parameters of each route.
#[derive(Clone, Debug)]
struct KnownParameters(Arc<HashMap<(Method, String), Vec<String>>>);

impl KnownParameters {
    fn new(prefix: &str, api: &OpenApi) -> Self {
        let routes = api.paths.paths.iter().flat_map(|(path, item)| {
            let path = format!("{prefix}{path}");
            operations(item).map(move |(method, operation)| ((method, path.clone()), parameters(operation)))
        });
        Self(Arc::new(routes.collect()))
    }

    /// A request's first unknown parameter.
    fn find_unknown(&self, request: &Request) -> Option<UnknownParameter> {
        let names = query_names(request.uri());
        let path = request.extensions().get::<MatchedPath>().filter(|_| !names.is_empty())?;
        // `HEAD` is answered by the route of `GET`.
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let known = self.0.get(&(method.clone(), path.as_str().to_owned()))?;
        let name = names.iter().find(|name| !known.iter().any(|known| known == parameter_name(name)))?;
        Some(UnknownParameter { name: name.clone(), known: known.clone() })
    }
}

/// A parameter that a route with the `known` ones does not have. The extractor that checks whether the caller may use the route refuses
/// it after that check ([`check`]).
#[derive(Clone, Debug)]
struct UnknownParameter {
    name: String,
    known: Vec<String>,
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let operations = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// The names of an operation's query parameters.
fn parameters(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let of_query = parameters.filter(|parameter| parameter.parameter_in == ParameterIn::Query);
    of_query.map(|parameter| parameter.name.clone()).collect()
}

/// The error of a parameter that a route with the `known` ones does not have.
pub(super) fn unknown_parameter(name: &str, known: &[String]) -> Error {
    let known: Vec<_> = known.iter().map(|name| format!("'{name}'")).collect();
    let known = match known.as_slice() {
        [] => "This route has none".to_owned(),
        known => format!("Known parameters: {}", known.join(", ")),
    };
    Error::invalid("query", format!("Unknown query parameter '{}'. {known}.", encode_name(name)))
}

/// Lets routes refuse unknown query parameters. `prefix` is that under which they are nested.
pub(super) fn refuse_unknown(prefix: &str, routes: OpenApiRouter<AppState>) -> OpenApiRouter<AppState> {
    let known = KnownParameters::new(prefix, routes.get_openapi());
    routes.route_layer(from_fn_with_state(known, find))
}

async fn find(State(known): State<KnownParameters>, mut request: Request, next: Next) -> Response {
    if let Some(unknown) = known.find_unknown(&request) {
        request.extensions_mut().insert(unknown);
    }
    next.run(request).await
}

/// Refuses an unknown query parameter. Every extractor of a caller does so, once the caller may use the route.
pub(super) fn check(parts: &mut Parts) -> Result<(), Error> {
    match parts.extensions.remove() {
        Some(UnknownParameter { name, known }) => Err(unknown_parameter(&name, &known)),
        None => Ok(()),
    }
}

/// Names all query parameters in `Rejoinder-Warning`: the routes have none.
pub(super) fn warn_of_all<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.route_layer(from_fn(warn))
}

async fn warn(request: Request, next: Next) -> Response {
    let ignored = IgnoredNames::of(NameSource::Query, query_names(request.uri()));
    let mut response = next.run(request).await;
    set_header(response.headers_mut(), REJOINDER_WARNING, ignored.to_header());
    response
}
