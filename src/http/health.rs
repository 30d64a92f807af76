//! Routes for operators: liveness, readiness, metrics and the `OpenAPI` document.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::openapi::openapi;
use super::response::json_text;
use super::state::AppState;
use crate::telemetry::Metrics;

/// The version of Prometheus' text format.
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// All responses share its bytes.
static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| openapi().to_json().unwrap_or_default().into());

/// Liveness and readiness.
pub(super) fn probes() -> Router<AppState> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// The routes that have a listener of their own if `operator.listen` is set.
pub(super) fn operator() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

pub(super) fn document() -> Router<AppState> {
    Router::new().route("/openapi.json", get(openapi_json))
}

async fn healthz() -> Response {
    json_text(StatusCode::OK, json!({"status": "alive"}).to_string())
}

async fn readyz(State(state): State<AppState>) -> Response {
    match state.services.readiness.run(&state.services.db).await {
        Ok(()) => json_text(StatusCode::OK, json!({"status": "ready"}).to_string()),
        Err(error) => {
            let body = json!({"status": "not ready", "reason": error.to_string()});
            json_text(StatusCode::SERVICE_UNAVAILABLE, body.to_string())
        }
    }
}

async fn metrics(State(state): State<AppState>) -> Response {
    let text = state.metrics.as_ref().map(Metrics::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, PROMETHEUS)], text).into_response()
}

async fn openapi_json() -> Response {
    json_text(StatusCode::OK, OPENAPI.clone())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn all_responses_with_the_document_share_its_bytes() {
        let body = async || openapi_json().await.into_body().collect().await.unwrap().to_bytes();

        let (first, second) = (body().await, body().await);

        assert!(first.len() > 100_000, "{}", first.len());
        assert_eq!(first.as_ptr(), second.as_ptr());
    }
}
