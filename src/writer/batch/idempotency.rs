//! Idempotency keys: records are read for replays, and written with the responses.

use super::Batch;
use crate::domain::error::Error;
use crate::domain::idempotency::{IDEMPOTENCY_TTL, IdempotencyRecord, IdempotencyRequest, StoredAnswer};
use crate::domain::ids::TurnId;
use crate::domain::render::RenderedResponse;

impl Batch<'_> {
    /// The record of the request's key, unless it has expired.
    ///
    /// # Errors
    ///
    /// The key was used for another request.
    pub(in crate::writer) fn idempotency_record(
        &self,
        request: Option<&IdempotencyRequest>,
    ) -> Result<Option<&IdempotencyRecord>, Error> {
        let Some(request) = request else { return Ok(None) };
        let record = self.tables.idempotency.get(&request.key);
        let Some(record) = record.filter(|record| record.created_at.plus(IDEMPOTENCY_TTL) > self.context.now)
        else {
            return Ok(None);
        };
        if record.fingerprint == request.fingerprint {
            Ok(Some(record))
        } else {
            Err(Error::IdempotencyKeyReused)
        }
    }

    /// Records the response for the request's key, or the turn whose end gives it.
    pub(in crate::writer) fn put_idempotency_record(
        &mut self,
        request: Option<&IdempotencyRequest>,
        turn: Option<TurnId>,
        answer: Option<RenderedResponse>,
    ) {
        let Some(IdempotencyRequest { key, fingerprint, warning }) = request.cloned() else { return };
        let answer = answer.map_or(StoredAnswer::Open, StoredAnswer::New);
        let created_at = self.context.now;
        let record = IdempotencyRecord { key: key.clone(), fingerprint, turn, answer, warning, created_at };
        self.changes.idempotency.insert(key.clone());
        self.tables.idempotency.insert(key, record);
    }
}
