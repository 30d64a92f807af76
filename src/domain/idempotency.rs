//! Idempotency keys and the responses that are stored for them.

use std::time::Duration;

use super::clock::Micros;
use super::ids::{TurnId, WorkspaceId};
use super::render::RenderedResponse;

/// The retention of a response.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_hours(24);

/// A key in its scope: the conversation on the widget API, the route on the platform API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey {
    pub workspace: WorkspaceId,
    pub scope: String,
    /// 1 to 255 characters, chosen by the client.
    pub key: String,
}

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRequest {
    pub key: IdempotencyKey,
    /// SHA-256 of route and raw body.
    pub fingerprint: Vec<u8>,
}

impl IdempotencyRequest {
    /// Scopes a key with the SHA-256 of route and raw body.
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

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    pub key: IdempotencyKey,
    pub fingerprint: Vec<u8>,
    /// The turn whose end determines the response.
    pub turn: Option<TurnId>,
    /// None while the turn is open.
    pub answer: Option<RenderedResponse>,
    pub created_at: Micros,
}
