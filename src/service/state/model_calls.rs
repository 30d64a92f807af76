//! The model calls that are under way here, so that a turn that ends meanwhile can name the model that it waited for, and count
//! its tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::chat::ModelError;
use crate::domain::ids::TurnId;

/// The calls of this process, at most one for each turn.
#[derive(Debug, Clone, Default)]
pub struct ModelCalls {
    calls: Arc<Mutex<HashMap<TurnId, CallUnderWay>>>,
}

/// What is stored of a call if its turn ends before the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallUnderWay {
    /// As it is stored with the turn.
    pub error: Option<String>,
    /// The tokens that are not counted yet, those of the call estimated.
    pub tokens: i64,
}

/// A call; it ends when this is dropped.
#[derive(Debug)]
pub struct ModelCallGuard {
    calls: ModelCalls,
    turn: TurnId,
}

impl ModelCalls {
    /// Registers a call.
    pub fn begin(&self, turn: TurnId, error: &ModelError, tokens: i64) -> ModelCallGuard {
        self.lock().insert(turn, CallUnderWay { error: error.detail_json(), tokens });
        ModelCallGuard { calls: self.clone(), turn }
    }

    /// The call that a turn is waiting for; nothing to store if there is none.
    pub fn under_way(&self, turn: TurnId) -> CallUnderWay {
        self.lock().get(&turn).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, CallUnderWay>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ModelCallGuard {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.turn);
    }
}
