//! The header `Idempotency-Key` on routes that do not support it. Clients send it with every request, so it is not refused; but a client that
//! relies on it would do something twice, so a success names it in `Rejoinder-Warning`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::Method;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::OpenApiRouter;

use super::openapi::describe_header;
use super::response::{REJOINDER_WARNING, set_header};
use super::state::AppState;
use crate::domain::account::Scope;
use crate::domain::ignored_names::{IgnoredNames, NameSource};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The routes that change something and do not support the header.
#[derive(Clone, Debug)]
struct Routes(Arc<HashSet<(Method, String)>>);

/// Lets the routes that do not declare the header name it in `Rejoinder-Warning`, and describes that. `prefix` is that under which they are
/// nested.
pub(super) fn warn_of_ignored_key(
    prefix: &str,
    mut routes: OpenApiRouter<AppState>,
) -> OpenApiRouter<AppState> {
    let mut ignoring = HashSet::new();
    for (path, item) in &mut routes.get_openapi_mut().paths.paths {
        for (method, operation) in writes(item).filter(|(_, operation)| !supports_key(operation)) {
            describe_warning(operation);
            ignoring.insert((method, format!("{prefix}{path}")));
        }
    }
    routes.route_layer(from_fn_with_state(Routes(Arc::new(ignoring)), warn))
}

/// The operations of a path that change something. A search is a POST that only reads.
fn writes(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let reads = SecurityRequirement::new("bearer", [Scope::Read.as_str()]);
    let only_reads =
        move |operation: &Operation| operation.security.iter().flatten().any(|one| *one == reads);
    let operations = [
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    let operations =
        operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)));
    operations.filter(move |(_, operation)| !only_reads(operation))
}

fn supports_key(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.name == IDEMPOTENCY_KEY,
        RefOr::Ref(_) => false,
    })
}

fn describe_warning(operation: &mut Operation) {
    let successes = operation.responses.responses.iter_mut().filter(|(status, _)| status.starts_with('2'));
    for (_, response) in successes {
        let described = describe_header(REJOINDER_WARNING.as_str());
        if let (RefOr::T(response), Some((name, header))) = (response, described) {
            response.headers.entry(name.to_owned()).or_insert(RefOr::T(header));
        }
    }
}

async fn warn(State(Routes(ignoring)): State<Routes>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let is_ignored = request.headers().contains_key(IDEMPOTENCY_KEY)
        && ignoring.contains(&(request.method().clone(), path.to_owned()));
    let mut response = next.run(request).await;
    if is_ignored && response.status().is_success() {
        let named = IgnoredNames::of(NameSource::Header, [IDEMPOTENCY_KEY]).to_header();
        let others = response.headers().get(REJOINDER_WARNING).and_then(|others| others.to_str().ok());
        let all = others.map(str::to_owned).into_iter().chain(named).collect::<Vec<_>>().join(", ");
        set_header(response.headers_mut(), REJOINDER_WARNING, Some(all));
    }
    response
}
