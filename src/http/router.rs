//! The router: the APIs, each with its own envelope also for requests without a route.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler as _;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_axum::router::OpenApiRouter;

use super::authentication::{Refuse, require_key, require_operator};
use super::envelope::{
    ApiError, Platform, RouteOptions, Widget, handle_panic, method_not_allowed, route_not_found,
};
use super::error::TransportError;
use super::server::{Routers, observe};
use super::state::AppState;
use super::widget::RouteClass;
use super::{health, operator, pages, platform, widget};
use crate::domain::error::Error;

/// After a client found no free connection.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The routes of clients, and those of the operator unless they have a listener of their own.
pub fn routers(state: &AppState, has_operator_listener: bool) -> Routers {
    let with_guard = |class: RouteClass, routes: OpenApiRouter<AppState>| {
        routes.route_layer(from_fn_with_state((state.clone(), class), widget::guard))
    };
    let with_key = |refuse: Refuse, routes: OpenApiRouter<AppState>| {
        routes.route_layer(from_fn_with_state((state.clone(), refuse), require_key))
    };
    let (widget_routes, _) = widget::routes(&with_guard, &with_key).split_for_parts();
    let (platform_routes, _) = platform::routes(&with_key).split_for_parts();
    let operator = if has_operator_listener { Router::new() } else { operator_routes(state) };
    let rest = health::probes()
        .merge(operator)
        .merge(health::document())
        .merge(pages::router())
        .merge(pages::calendar_file::routes(state))
        .merge(pages::chat_page::routes(state))
        // A page with a mistyped address has to see the 404, which tells it nothing that depends on the caller.
        .fallback(fallback.layer(widget::cors()))
        .method_not_allowed_fallback(method_not_allowed::<Platform>);
    let all = rest
        .nest("/api", with_fallbacks::<Widget>(widget_routes).layer(widget::cors()))
        .nest("/v1", with_fallbacks::<Platform>(platform_routes));
    Routers { all: finish(all, state), reserve: reserve(state) }
}

/// The routes of the operator, for a listener of their own.
pub fn operator_routers(state: &AppState) -> Routers {
    let all = health::probes()
        .merge(operator_routes(state))
        .fallback(fallback)
        .method_not_allowed_fallback(method_not_allowed::<Platform>);
    Routers { all: finish(all, state), reserve: reserve(state) }
}

/// The metrics, and the operator's API.
fn operator_routes(state: &AppState) -> Router<AppState> {
    let (routes, _) = operator::routes().split_for_parts();
    let routes = routes.route_layer(from_fn_with_state(state.clone(), require_operator));
    health::operator().nest("/operator/v1", with_fallbacks::<Platform>(routes))
}

/// The routes of connections beyond the limit: health is answered, everything else is refused.
fn reserve(state: &AppState) -> Router {
    let routes = health::probes()
        .fallback(overloaded.layer(widget::cors()))
        .method_not_allowed_fallback(method_not_allowed::<Platform>);
    finish(routes, state)
}

fn finish(routes: Router<AppState>, state: &AppState) -> Router {
    let routes = routes.layer(CatchPanicLayer::custom(handle_panic::<Platform>));
    with_safe_headers(routes).layer(from_fn_with_state(state.clone(), observe)).with_state(state.clone())
}

/// Lets no browser or proxy store a response or guess its type, whichever layer answers. Pages and calendar files, which may
/// be stored, say so themselves.
fn with_safe_headers<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    let unless_set = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    routes.layer(unless_set(CACHE_CONTROL, "no-store")).layer(unless_set(X_CONTENT_TYPE_OPTIONS, "nosniff"))
}

/// Adds the fallbacks of an API, which answer in its envelope.
fn with_fallbacks<O: RouteOptions>(routes: Router<AppState>) -> Router<AppState> {
    routes
        .fallback(route_not_found::<O>)
        .method_not_allowed_fallback(method_not_allowed::<O>)
        .layer(CatchPanicLayer::custom(handle_panic::<O>))
}

/// Refuses any request in the envelope of its API.
async fn overloaded(request: Request) -> Response {
    let error = Error::Overloaded { text: "The server is overloaded", retry_after: OVERLOADED_RETRY_AFTER };
    if is_widget_path(request.uri().path()) {
        return ApiError::<Widget>::from(error).into_response();
    }
    ApiError::<Platform>::from(error).into_response()
}

/// Answers paths outside both APIs. The bare prefix of an API still belongs to that API.
async fn fallback(request: Request) -> Response {
    if is_widget_path(request.uri().path()) {
        return ApiError::<Widget>::from(TransportError::RouteNotFound).into_response();
    }
    ApiError::<Platform>::from(TransportError::RouteNotFound).into_response()
}

fn is_widget_path(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    /// The response of an API whose only handler panics.
    async fn response_to_panic<O: RouteOptions>() -> Response {
        async fn handler() {
            panic!("on purpose")
        }
        let app = Router::new().route("/", get(handler)).fallback(route_not_found::<O>);
        let app = with_safe_headers(app.layer(CatchPanicLayer::custom(handle_panic::<O>)));
        app.oneshot(Request::new(Body::empty())).await.unwrap()
    }

    async fn status_and_body(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_answered_in_the_apis_envelope_without_its_text() {
        let text = "The server failed to process the request.";

        let widget = (500, format!(r#"{{"status":false,"error":"{text}"}}"#));
        assert_eq!(status_and_body(response_to_panic::<Widget>().await).await, widget);
        let platform = (500, format!(r#"{{"status":"error","message":"{text}","data":null}}"#));
        assert_eq!(status_and_body(response_to_panic::<Platform>().await).await, platform);
    }

    #[tokio::test]
    async fn the_response_to_a_panic_is_not_stored_either() {
        let response = response_to_panic::<Platform>().await;

        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
