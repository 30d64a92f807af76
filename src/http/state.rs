//! The state that handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::server::Limits;
use crate::service::Services;
use crate::service::processes::Process;
use crate::telemetry::Metrics;

/// The state that handlers share. Cheap to clone: it is cloned several times for each request.
#[derive(Clone, Debug)]
pub struct AppState(Arc<SharedState>);

impl AppState {
    #[must_use]
    pub fn new(state: SharedState) -> Self {
        Self(Arc::new(state))
    }
}

impl Deref for AppState {
    type Target = SharedState;

    fn deref(&self) -> &SharedState {
        &self.0
    }
}

#[derive(Debug)]
pub struct SharedState {
    pub services: Services,
    /// None if `limits.enabled` is false.
    pub limits: Option<Arc<Limits>>,
    /// The metrics of `/metrics`; none if this process records none.
    pub metrics: Option<Metrics>,
    /// The public base URL of this server, without a trailing slash.
    pub public_url: Arc<str>,
    /// This process.
    pub process: Process,
    /// `http.body_timeout`: the time in which a whole request body must arrive.
    pub body_timeout: Duration,
}
