//! The model calls that are under way here, so that a turn that ends meanwhile can name the model that it waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::chat::ModelError;
use crate::domain::ids::TurnId;

/// The calls of this process, at most one for each turn, with the error to report if the turn ends before the answer.
#[derive(Debug, Clone, Default)]
pub struct ModelCalls {
    errors: Arc<Mutex<HashMap<TurnId, String>>>,
}

/// A call; it ends when this is dropped.
#[derive(Debug)]
pub struct ModelCallGuard {
    calls: ModelCalls,
    turn: TurnId,
}

impl ModelCalls {
    /// Registers a call.
    pub fn begin(&self, turn: TurnId, error: &ModelError) -> ModelCallGuard {
        if let Some(error) = error.detail_json() {
            self.lock().insert(turn, error);
        }
        ModelCallGuard { calls: self.clone(), turn }
    }

    /// The error of the call that a turn is waiting for, as it is stored with the turn.
    pub fn error(&self, turn: TurnId) -> Option<String> {
        self.lock().get(&turn).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, String>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ModelCallGuard {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.turn);
    }
}
