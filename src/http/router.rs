//! The router: two doors side by side, each with its envelope at every edge.

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::envelope::{Envelope, Platform, Widget};
use super::error::{ApiError, Edge, no_method, no_route, panicked};
use super::observe::observe;
use super::state::AppState;
use super::{api, health, v1};

/// All routes, ready to be served.
pub fn router(state: AppState) -> Router {
    let (widget, _) = api::door(&|counted, routes| {
        routes.route_layer(from_fn_with_state((state.clone(), counted), api::guard))
    })
    .split_for_parts();
    let (platform, _) = v1::door().split_for_parts();
    let rest = health::routes().fallback(nowhere).method_not_allowed_fallback(no_method::<Platform>);
    rest.nest("/api", edges::<Widget>(widget).layer(api::cors()))
        .nest("/v1", edges::<Platform>(platform))
        .layer(CatchPanicLayer::custom(panicked::<Platform>))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// A door with its envelope wherever a request may fall off.
fn edges<E: Envelope>(routes: Router<AppState>) -> Router<AppState> {
    routes
        .fallback(no_route::<E>)
        .method_not_allowed_fallback(no_method::<E>)
        .layer(CatchPanicLayer::custom(panicked::<E>))
}

/// Outside both doors; what a door's prefix alone names is the door's all the same.
async fn nowhere(request: Request) -> Response {
    if matches!(request.uri().path(), "/api" | "/api/") {
        return ApiError::<Widget>::from(Edge::NoRoute).into_response();
    }
    ApiError::<Platform>::from(Edge::NoRoute).into_response()
}
