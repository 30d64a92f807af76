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
use super::{api, calendar_file, health, pages, v1};

/// All routes, ready to be served.
pub fn router(state: AppState) -> Router {
    let (widget, _) = api::door(&|counted, routes| {
        routes.route_layer(from_fn_with_state((state.clone(), counted), api::guard))
    })
    .split_for_parts();
    let (platform, _) = v1::door().split_for_parts();
    let rest = health::routes()
        .merge(pages::router())
        .merge(calendar_file::routes(&state))
        .fallback(nowhere)
        .method_not_allowed_fallback(no_method::<Platform>);
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    /// What a door answers whose only handler panics.
    async fn panics<E: Envelope>() -> (u16, String) {
        async fn handler() {
            panic!("on purpose")
        }
        let door = Router::new().route("/", get(handler)).fallback(no_route::<E>);
        let door = door.layer(CatchPanicLayer::custom(panicked::<E>));
        let answer = door.oneshot(Request::new(Body::empty())).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_answers_in_the_doors_envelope_without_its_text() {
        let text = "The server failed to process the request.";

        let widget = (500, format!(r#"{{"status":false,"error":"{text}"}}"#));
        assert_eq!(panics::<Widget>().await, widget);
        let platform = (500, format!(r#"{{"status":"error","message":"{text}","data":null}}"#));
        assert_eq!(panics::<Platform>().await, platform);
    }
}
