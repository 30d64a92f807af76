//! Keys of the platform API: their format, and what is stored of them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::account::{Account, Scope};
use super::audit::Actor;
use super::clock::Micros;
use super::ids::{KeyId, WorkspaceId};

const KEY_PREFIX: &str = "sk_";
/// Longer than any key (46 bytes); longer input is not hashed.
const MAX_LENGTH: usize = 128;
/// Characters of a key that are stored to identify it.
const VISIBLE_LENGTH: usize = 9;

/// The hash by which the database finds a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyHash(pub [u8; 32]);

/// The secret: shown once, never stored.
#[derive(Clone, Debug)]
pub struct KeySecret(SecretString);

impl KeySecret {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into())
    }

    /// Parses what a client sent; none if it cannot be a key, which saves a query.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_key = text.len() <= MAX_LENGTH && text.starts_with(KEY_PREFIX) && text.bytes().all(is_allowed);
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
}

impl ApiKey {
    /// Its account, unless it was revoked or has expired.
    #[must_use]
    pub fn account(&self, now: Micros) -> Option<Account> {
        let is_active = self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end);
        is_active.then(|| Account {
            workspace: self.workspace,
            key: self.id,
            scopes: self.scopes.clone(),
            actor: Arc::new(Actor::of_key(self.id, self.name.as_str())),
        })
    }
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
}
