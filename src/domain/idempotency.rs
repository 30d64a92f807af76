//! What an `Idempotency-Key` keeps: the answer that was given, for whoever asks again.

use std::time::Duration;

use super::clock::Micros;
use super::ids::{TurnId, WorkspaceId};
use super::render::RenderedResponse;

/// How long an answer is kept.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_hours(24);

/// A key, where it counts: the conversation on the widget door, the route on the platform door.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey {
    pub workspace: WorkspaceId,
    pub scope: String,
    /// 1 to 255 characters, as the client chose them.
    pub key: String,
}

/// A key as a request brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRequest {
    pub key: IdempotencyKey,
    /// SHA-256 of route and raw body.
    pub fingerprint: Vec<u8>,
}

impl IdempotencyRequest {
    /// The key that was sent, with the SHA-256 of route and raw body, where it counts.
    #[must_use]
    pub fn new(
        workspace: WorkspaceId,
        scope: impl Into<String>,
        key_and_fingerprint: (String, Vec<u8>),
    ) -> Self {
        let (key, fingerprint) = key_and_fingerprint;
        Self { key: IdempotencyKey { workspace, scope: scope.into(), key }, fingerprint }
    }
}

/// A key as its row keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    pub key: IdempotencyKey,
    pub fingerprint: Vec<u8>,
    /// The turn whose end gives the answer, or gave it.
    pub turn: Option<TurnId>,
    /// None while that turn is open.
    pub answer: Option<RenderedResponse>,
    pub created_at: Micros,
}
