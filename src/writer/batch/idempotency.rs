//! Idempotency keys: records are read for replays, and written with the responses.

use super::Batch;
use crate::domain::error::Error;
use crate::domain::idempotency::{
    IDEMPOTENCY_TTL, IdempotencyKey, IdempotencyRecord, IdempotencyRequest, StoredAnswer,
};
use crate::domain::ids::{BookingId, ConversationId, ResourceId as _, TurnId};
use crate::domain::render::RenderedResponse;

impl Batch<'_> {
    /// The record of the request's key, unless it has expired.
    ///
    /// # Errors
    ///
    /// The key was used for another request, or the conversation or the booking of its response was erased.
    pub(in crate::writer) fn idempotency_record(
        &self,
        request: Option<&IdempotencyRequest>,
    ) -> Result<Option<&IdempotencyRecord>, Error> {
        let Some(request) = request else { return Ok(None) };
        if let Some(erased) = self.fresh_record(&request.key.erased()) {
            // A record without a conversation was that of a booking.
            let not_found = || BookingId::not_found("it was erased");
            return Err(erased.conversation.map_or_else(not_found, ConversationId::not_found));
        }
        let Some(record) = self.fresh_record(&request.key) else { return Ok(None) };
        if record.fingerprint == request.fingerprint {
            Ok(Some(record))
        } else {
            Err(Error::IdempotencyKeyReused)
        }
    }

    /// The record of a key, unless it has expired.
    fn fresh_record(&self, key: &IdempotencyKey) -> Option<&IdempotencyRecord> {
        let record = self.tables.idempotency.get(key);
        record.filter(|record| record.created_at.plus(IDEMPOTENCY_TTL) > self.context.now)
    }

    /// Records the response for the request's key, or the turn whose end gives it.
    pub(in crate::writer) fn put_idempotency_record(
        &mut self,
        request: Option<&IdempotencyRequest>,
        conversation: Option<ConversationId>,
        turn: Option<TurnId>,
        answer: Option<RenderedResponse>,
    ) {
        let Some(IdempotencyRequest { key, fingerprint, warning }) = request.cloned() else { return };
        let answer = answer.map_or(StoredAnswer::Open, StoredAnswer::New);
        let record = IdempotencyRecord {
            key: key.clone(),
            fingerprint,
            turn,
            conversation,
            answer,
            warning,
            created_at: self.context.now,
        };
        self.changes.idempotency.insert(key.clone());
        self.tables.idempotency.insert(key, record);
    }
}
