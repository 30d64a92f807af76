//! Models that answered 429 (too many requests) are skipped for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::domain::assistant::ModelRef;

/// The paused models of this process.
#[derive(Debug, Default)]
pub(in crate::service) struct RateLimitBackoff {
    until: Mutex<HashMap<ModelRef, Instant>>,
}

impl RateLimitBackoff {
    /// Pauses a model.
    pub(in crate::service) fn pause(&self, model: &ModelRef, until: Instant) {
        let mut paused = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        paused.retain(|_, until| *until > now);
        paused.insert(model.clone(), until);
    }

    /// When a paused model may be called again; `None` if it is not paused.
    #[must_use]
    pub(in crate::service) fn until(&self, model: &ModelRef) -> Option<Instant> {
        let paused = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        paused.get(model).copied().filter(|until| *until > Instant::now())
    }
}
