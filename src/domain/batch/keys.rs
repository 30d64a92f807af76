//! Idempotency keys: what one has kept is answered again; what is answered now is kept.

use super::Batch;
use crate::domain::error::Error;
use crate::domain::idempotency::{KEPT, Kept, Presented};
use crate::domain::ids::TurnId;
use crate::domain::rendered::Answer;

impl Batch<'_> {
    /// What the presented key keeps, if its time is not over. Another request's key is refused.
    pub(super) fn kept(&self, presented: Option<&Presented>) -> Result<Option<&Kept>, Error> {
        let Some(presented) = presented else { return Ok(None) };
        let kept = self.tables.idempotency.get(&presented.key);
        let Some(kept) = kept.filter(|kept| kept.created_at.plus(KEPT) > self.setting.now) else {
            return Ok(None);
        };
        if kept.fingerprint == presented.fingerprint { Ok(Some(kept)) } else { Err(Error::KeyReused) }
    }

    /// Keeps an answer for the presented key, or the turn whose end will give it.
    pub(super) fn keep(
        &mut self,
        presented: Option<&Presented>,
        turn: Option<TurnId>,
        answer: Option<Answer>,
    ) {
        let Some(Presented { key, fingerprint }) = presented.cloned() else { return };
        let kept = Kept { key: key.clone(), fingerprint, turn, answer, created_at: self.setting.now };
        self.written.idempotency.insert(key.clone());
        self.tables.idempotency.insert(key, kept);
    }
}
