//! Keys of the platform API and of the operator's API: their format, and what is stored of them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::account::{Account, KeyHash, OperatorAccount, Scope};
use super::audit::Actor;
use super::clock::Micros;
use super::ids::{KeyId, OperatorKeyId, WorkspaceId};

const KEY_PREFIX: &str = "sk_";
const OPERATOR_PREFIX: &str = "op_";
/// Longer than any key (46 bytes); longer input is not hashed.
const MAX_LENGTH: usize = 128;
/// Characters of a key that are stored to identify it.
const VISIBLE_LENGTH: usize = 9;

/// The longest name of a key, in characters.
pub const MAX_KEY_NAME: usize = 200;

/// How long the secret before a roll stays valid by default.
pub const DEFAULT_ROLL_OVERLAP: Duration = Duration::from_hours(24);

/// The secret: shown once, never stored.
#[derive(Clone, Debug)]
pub struct KeySecret(SecretString);

impl KeySecret {
    /// A key of a workspace, of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self::with_prefix(KEY_PREFIX, bytes)
    }

    /// A key of the operator's API, of 32 random bytes.
    #[must_use]
    pub fn new_operator(bytes: [u8; 32]) -> Self {
        Self::with_prefix(OPERATOR_PREFIX, bytes)
    }

    fn with_prefix(prefix: &str, bytes: [u8; 32]) -> Self {
        Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)).into())
    }

    /// Parses what a client sent; none if it cannot be a key of a workspace, which saves a query.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_with_prefix(KEY_PREFIX, text)
    }

    /// Parses what a client sent; none if it cannot be a key of the operator's API.
    #[must_use]
    pub fn parse_operator(text: &str) -> Option<Self> {
        Self::parse_with_prefix(OPERATOR_PREFIX, text)
    }

    fn parse_with_prefix(prefix: &str, text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_key = text.len() <= MAX_LENGTH && text.starts_with(prefix) && text.bytes().all(is_allowed);
        is_key.then(|| Self(text.into()))
    }

    /// The text for its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// SHA-256 of the text. A key has 256 random bits, so it needs no salt, and the time of a lookup by hash reveals
    /// nothing about a key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.expose()).into())
    }

    /// The stored prefix.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.expose().chars().take(VISIBLE_LENGTH).collect()
    }
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    pub workspace: WorkspaceId,
    pub name: String,
    pub prefix: String,
    pub scopes: Vec<Scope>,
    pub created_at: Micros,
    pub expires_at: Option<Micros>,
    pub revoked_at: Option<Micros>,
    pub last_used_at: Option<Micros>,
    /// The time until which the secret before the last roll is valid, too.
    pub previous_until: Option<Micros>,
    /// Whether its workspace is suspended.
    pub is_suspended: bool,
}

impl ApiKey {
    /// Whether it is neither revoked nor expired.
    #[must_use]
    pub fn is_valid(&self, now: Micros) -> bool {
        is_valid(self.revoked_at, self.expires_at, now)
    }

    /// Its account for a client that sent this secret.
    #[must_use]
    pub fn account(&self, secret: KeyHash) -> Account {
        Account {
            workspace: self.workspace,
            key: self.id,
            secret,
            scopes: self.scopes.clone(),
            is_suspended: self.is_suspended,
            actor: Arc::new(Actor::of_key(self.id, self.name.as_str())),
        }
    }
}

/// A stored key of the operator's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorKey {
    pub id: OperatorKeyId,
    pub name: String,
    pub prefix: String,
    pub created_at: Micros,
    pub expires_at: Option<Micros>,
    pub revoked_at: Option<Micros>,
    pub last_used_at: Option<Micros>,
}

impl OperatorKey {
    /// Whether it is neither revoked nor expired.
    #[must_use]
    pub fn is_valid(&self, now: Micros) -> bool {
        is_valid(self.revoked_at, self.expires_at, now)
    }

    /// Its account for a client that sent this secret.
    #[must_use]
    pub fn account(&self, secret: KeyHash) -> OperatorAccount {
        let actor = Arc::new(Actor::of_operator(self.id, self.name.as_str()));
        OperatorAccount { key: self.id, secret, actor }
    }
}

fn is_valid(revoked_at: Option<Micros>, expires_at: Option<Micros>, now: Micros) -> bool {
    revoked_at.is_none() && expires_at.is_none_or(|end| now < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_shows_only_its_beginning() {
        let key = KeySecret::new([255; 32]);

        let read = KeySecret::parse(key.expose()).unwrap();

        assert_eq!(read.hash(), key.hash());
        assert_eq!(key.prefix(), "sk_______");
        assert!(!format!("{key:?}").contains(key.expose()));
    }

    #[test]
    fn malformed_keys_are_none() {
        for text in ["", "sk", "pk_test", "sk_ ", "sk_é", &format!("sk_{}", "a".repeat(MAX_LENGTH))] {
            assert!(KeySecret::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_of_a_workspace_is_none_of_an_operator() {
        let (workspace, operator) = (KeySecret::new([7; 32]), KeySecret::new_operator([7; 32]));

        assert!(KeySecret::parse(operator.expose()).is_none());
        assert!(KeySecret::parse_operator(workspace.expose()).is_none());
        assert!(KeySecret::parse_operator(operator.expose()).is_some());
        assert_ne!(workspace.hash(), operator.hash());
    }
}
