//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use super::server::Limits;
use crate::service::Services;
use crate::telemetry::Metrics;

/// What the handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    pub services: Services,
    /// None where `limits.enabled` is false.
    pub limits: Option<Arc<Limits>>,
    /// What `/metrics` shows; none where this process does not count.
    pub metrics: Option<Metrics>,
    /// The address under which others reach this server, without a slash at its end.
    pub public_url: Arc<str>,
    /// `http.body_timeout`: for a request's whole body to arrive.
    pub body_timeout: Duration,
}
