//! The Rust receiver of `docs/webhooks.md`, as it stands there from here on.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::{Webhook, WebhookError};
use tokio::sync::mpsc;

struct Receiver {
    webhook: Webhook,
    events: mpsc::Sender<Value>,
}

/// Sends verified events to a channel for processing.
pub fn receiver(secret: &str, events: mpsc::Sender<Value>) -> Result<Router, WebhookError> {
    let receiver = Receiver { webhook: Webhook::new(secret)?, events };
    Ok(Router::new().route("/hooks", post(receive)).with_state(Arc::new(receiver)))
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if receiver.webhook.verify(&body, &headers).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(event) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    // Store the event here unless its id is known. If that fails, return an error, so that it is delivered again.
    match receiver.events.send(event).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
