//! Encryption of stored secrets with one key (XChaCha20-Poly1305; the nonce precedes the ciphertext).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};

const NONCE: usize = 24;

/// The encryption key.
pub struct SealKey(SecretBox<[u8; 32]>);

/// A sealed secret as stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealedSecret {
    sealed: String,
}

impl SealedSecret {
    /// From the text of a column.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self { sealed: text }
    }

    /// The text for a column: base64.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.sealed
    }
}

/// The key is a different one, or the sealed text was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored secret cannot be opened with this REJOINDER_SECRET_KEY")]
pub struct SealError;

impl SealKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// Seals a secret; `nonce` must be random and is used once.
    pub fn seal(&self, secret: &SecretString, nonce: [u8; NONCE]) -> Result<SealedSecret, SealError> {
        let cipher = self.cipher().encrypt(&XNonce::from(nonce), secret.expose_secret().as_bytes());
        let cipher = cipher.map_err(|_| SealError)?;
        Ok(SealedSecret { sealed: STANDARD.encode([&nonce[..], &cipher].concat()) })
    }

    /// Seals a secret, or returns the element of `existing` that already seals it.
    pub fn seal_or_reuse<'k>(
        &self,
        secret: &SecretString,
        existing: impl IntoIterator<Item = &'k SealedSecret>,
        nonce: [u8; NONCE],
    ) -> Result<SealedSecret, SealError> {
        let is_same = |existing: &&SealedSecret| {
            self.open(existing).is_ok_and(|existing| existing.expose_secret() == secret.expose_secret())
        };
        match existing.into_iter().find(is_same) {
            Some(existing) => Ok(existing.clone()),
            None => self.seal(secret, nonce),
        }
    }

    /// Opens a secret that was sealed with the same key.
    pub fn open(&self, sealed: &SealedSecret) -> Result<SecretString, SealError> {
        let bytes = STANDARD.decode(&sealed.sealed).map_err(|_| SealError)?;
        let (nonce, cipher) = bytes.split_first_chunk::<NONCE>().ok_or(SealError)?;
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), cipher).map_err(|_| SealError)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| SealError)
    }

    /// Whether this key sealed the secret.
    #[must_use]
    pub fn opens(&self, sealed: &SealedSecret) -> bool {
        self.open(sealed).is_ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.expose_secret().into())
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_with_its_key_alone() {
        let key = SealKey::new([1; 32]);
        let sealed = key.seal(&SecretString::from("token"), [7; NONCE]).unwrap();

        assert_eq!(key.open(&sealed).unwrap().expose_secret(), "token");
        assert_eq!(SealKey::new([2; 32]).open(&sealed).unwrap_err(), SealError);
        assert!(!serde_json::to_string(&sealed).unwrap().contains("token"));
    }
}
