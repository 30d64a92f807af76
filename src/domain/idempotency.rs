//! Idempotency keys and the responses that are stored for them.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::clock::Micros;
use super::ids::{ConversationId, TurnId, WorkspaceId};
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

impl IdempotencyKey {
    /// The key under which it is remembered, once the conversation of its response was deleted: a client may have put anything into a
    /// key, so only a digest is kept.
    #[must_use]
    pub fn erased(&self) -> Self {
        let mut key = "erased:".to_owned();
        for byte in Sha256::digest(&self.key) {
            let _ = write!(key, "{byte:02x}");
        }
        Self { key, ..self.clone() }
    }
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
    /// The conversation of the response.
    pub conversation: Option<ConversationId>,
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_erased_key_does_not_contain_the_key_and_stays_in_its_scope() {
        let key = |scope: &str, key: &str| IdempotencyKey {
            workspace: WorkspaceId(Uuid::nil()),
            scope: scope.to_owned(),
            key: key.to_owned(),
        };
        let erased = key("POST /v1/messages", "ada@example.com").erased();

        assert!(!erased.key.contains("ada") && erased.key.len() == "erased:".len() + 64, "{}", erased.key);
        assert_eq!(erased, key("POST /v1/messages", "ada@example.com").erased());
        assert_ne!(erased, key("POST /v1/conversations", "ada@example.com").erased());
        assert_ne!(erased, key("POST /v1/messages", "bob@example.com").erased());
    }
}
