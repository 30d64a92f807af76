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
    /// `Rejoinder-Warning`, for the responses to later requests with the key.
    pub warning: Option<String>,
}

impl IdempotencyRequest {
    /// Scopes a key with the SHA-256 of route and raw body.
    #[must_use]
    pub fn new(
        workspace: WorkspaceId,
        scope: impl Into<String>,
        key_and_fingerprint: (String, Vec<u8>),
        warning: Option<String>,
    ) -> Self {
        let (key, fingerprint) = key_and_fingerprint;
        Self { key: IdempotencyKey { workspace, scope: scope.into(), key }, fingerprint, warning }
    }
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    pub key: IdempotencyKey,
    pub fingerprint: Vec<u8>,
    /// The turn whose end determines the response.
    pub turn: Option<TurnId>,
    pub answer: StoredAnswer,
    /// `Rejoinder-Warning` of the first request.
    pub warning: Option<String>,
    pub created_at: Micros,
}

/// The response of a stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredAnswer {
    /// The turn is open.
    Open,
    /// To be stored.
    New(RenderedResponse),
    /// Stored. It may be large, and is read only to be sent.
    Stored,
}

impl StoredAnswer {
    /// Whether there is a response.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self {
            Self::Open => false,
            Self::New(_) | Self::Stored => true,
        }
    }

    /// The response that is to be stored.
    #[must_use]
    pub fn to_store(&self) -> Option<&RenderedResponse> {
        match self {
            Self::New(answer) => Some(answer),
            Self::Open | Self::Stored => None,
        }
    }
}
