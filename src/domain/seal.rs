//! Encryption of stored secrets (XChaCha20-Poly1305). A sealed text names its form and its key, and is bound to the field that it is
//! stored in: a copy in another workspace, object or field does not open.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::ids::{CalendarId, EndpointId, IdentitySecretId, WorkspaceId};

const NONCE: usize = 24;

/// The first part of a sealed text: `v1.<id of the key>.<nonce and ciphertext in base64>`.
const FORM: &str = "v1";

/// The block size of SHA-256.
const BLOCK_SIZE: usize = 64;

/// Digits of the id of a key.
const ID_DIGITS: usize = 16;

/// The keys of a process: the current one seals, and all open.
#[derive(Debug)]
pub struct SealKeys {
    current: SealKey,
    previous: Vec<SealKey>,
}

/// A key.
pub struct SealKey {
    bytes: SecretBox<[u8; 32]>,
    id: SealKeyId,
}

/// The id of a key, derived from it: 16 hexadecimal digits, which reveal nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealKeyId(String);

/// A sealed secret as stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealedSecret {
    sealed: String,
}

/// The place of a secret, to which its sealed text is bound.
#[derive(Clone, Copy, Debug)]
pub struct SecretContext<'a> {
    workspace: WorkspaceId,
    owner: SecretOwner<'a>,
    field: SecretField<'a>,
}

#[derive(Clone, Copy, Debug)]
enum SecretOwner<'a> {
    /// By its slug, which is the same in all versions of assistants.
    Tool(&'a str),
    Calendar(CalendarId),
    WebhookEndpoint(EndpointId),
    IdentitySecret(IdentitySecretId),
    /// The record of a key, which belongs to no workspace.
    KeyRecord,
}

/// The field of its owner that a secret is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretField<'a> {
    /// The value of a header; its name is compared without case.
    Header(&'a str),
    /// The value of a placeholder.
    Placeholder(&'a str),
    /// A secret that signs.
    Signing,
    Password,
    /// The text of a key's record.
    Record,
}

/// Why a sealed secret cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("a stored secret is not in the form of this version")]
    Malformed,
    #[error("a stored secret is encrypted with the key {0}, which REJOINDER_SECRET_KEY does not contain")]
    UnknownKey(SealKeyId),
    #[error("a stored secret was changed, or belongs to another workspace, object or field")]
    Rejected,
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SealKeyId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == ID_DIGITS && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }
}

/// The path of the field in a configuration: `headers.authorization`.
impl fmt::Display for SecretField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "headers.{name}"),
            Self::Placeholder(name) => write!(f, "secrets.{name}"),
            Self::Signing => f.write_str("secret"),
            Self::Password => f.write_str("password"),
            Self::Record => f.write_str("record"),
        }
    }
}

impl SealedSecret {
    /// From the text of a column.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self { sealed: text }
    }

    /// The text for a column.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.sealed
    }

    /// The id of its key, and the nonce and ciphertext in base64.
    fn parts(&self) -> Option<(SealKeyId, &str)> {
        let (form, rest) = self.sealed.split_once('.')?;
        let (id, body) = rest.split_once('.').filter(|_| form == FORM)?;
        Some((SealKeyId::parse(id)?, body))
    }
}

impl<'a> SecretContext<'a> {
    /// Of the record of a key.
    pub const KEY_RECORD: Self = Self {
        workspace: WorkspaceId(Uuid::nil()),
        owner: SecretOwner::KeyRecord,
        field: SecretField::Record,
    };

    /// Of a field of a tool.
    #[must_use]
    pub fn of_tool(workspace: WorkspaceId, slug: &'a str, field: SecretField<'a>) -> Self {
        Self { workspace, owner: SecretOwner::Tool(slug), field }
    }

    /// Of the password of a calendar on a server.
    #[must_use]
    pub fn of_calendar(workspace: WorkspaceId, calendar: CalendarId) -> Self {
        Self { workspace, owner: SecretOwner::Calendar(calendar), field: SecretField::Password }
    }

    /// Of the secrets of a webhook endpoint. A rotation moves the current one to the previous one, so both have the same.
    #[must_use]
    pub fn of_endpoint(workspace: WorkspaceId, endpoint: EndpointId) -> Self {
        Self { workspace, owner: SecretOwner::WebhookEndpoint(endpoint), field: SecretField::Signing }
    }

    /// Of a secret that signs identity tokens.
    #[must_use]
    pub fn of_identity(workspace: WorkspaceId, secret: IdentitySecretId) -> Self {
        Self { workspace, owner: SecretOwner::IdentitySecret(secret), field: SecretField::Signing }
    }

    /// The associated data of the cipher. Each part follows its length, so that no two contexts have the same.
    fn associated_data(&self) -> Vec<u8> {
        let (kind, owner): (&str, &[u8]) = match &self.owner {
            SecretOwner::Tool(slug) => ("tool", slug.as_bytes()),
            SecretOwner::Calendar(id) => ("calendar", id.0.as_bytes().as_slice()),
            SecretOwner::WebhookEndpoint(id) => ("webhook_endpoint", id.0.as_bytes().as_slice()),
            SecretOwner::IdentitySecret(id) => ("identity_secret", id.0.as_bytes().as_slice()),
            SecretOwner::KeyRecord => ("key_record", &[]),
        };
        let (field, name) = match self.field {
            SecretField::Header(name) => ("header", name.to_ascii_lowercase()),
            SecretField::Placeholder(name) => ("placeholder", name.to_owned()),
            SecretField::Signing => ("signing", String::new()),
            SecretField::Password => ("password", String::new()),
            SecretField::Record => ("record", String::new()),
        };
        let workspace = self.workspace.0.as_bytes();
        let parts: [&[u8]; 6] =
            [FORM.as_bytes(), workspace, kind.as_bytes(), owner, field.as_bytes(), name.as_bytes()];
        let with_length = |part: &[u8]| [&(part.len() as u64).to_be_bytes()[..], part].concat();
        parts.into_iter().flat_map(with_length).collect()
    }
}

impl SealKeys {
    /// The current key, and earlier ones that only open.
    #[must_use]
    pub fn new(current: SealKey, previous: Vec<SealKey>) -> Self {
        Self { current, previous }
    }

    /// The id of the current key.
    #[must_use]
    pub fn current_id(&self) -> &SealKeyId {
        &self.current.id
    }

    /// Seals a secret with the current key; `nonce` must be random and is used once.
    pub fn seal(
        &self,
        context: &SecretContext<'_>,
        secret: &SecretString,
        nonce: [u8; NONCE],
    ) -> Result<SealedSecret, SealError> {
        self.current.seal(context, secret, nonce)
    }

    /// Seals a secret, or returns the element of `existing` that already seals it in this context, with any key.
    pub fn seal_or_reuse<'k>(
        &self,
        context: &SecretContext<'_>,
        secret: &SecretString,
        existing: impl IntoIterator<Item = &'k SealedSecret>,
        nonce: [u8; NONCE],
    ) -> Result<SealedSecret, SealError> {
        let is_same = |existing: &&SealedSecret| {
            self.open(context, existing)
                .is_ok_and(|existing| existing.expose_secret() == secret.expose_secret())
        };
        match existing.into_iter().find(is_same) {
            Some(existing) => Ok(existing.clone()),
            None => self.seal(context, secret, nonce),
        }
    }

    /// Opens a secret that one of the keys sealed in the same context.
    pub fn open(
        &self,
        context: &SecretContext<'_>,
        sealed: &SealedSecret,
    ) -> Result<SecretString, SealError> {
        let (id, body) = sealed.parts().ok_or(SealError::Malformed)?;
        let key = std::iter::once(&self.current).chain(&self.previous).find(|key| key.id == id);
        key.ok_or(SealError::UnknownKey(id))?.open(context, body)
    }

    /// The same secret, sealed with the current key; `None` if it already is. The result depends on the keys and the sealed text
    /// alone, so copies of one text stay equal.
    pub fn reseal(
        &self,
        context: &SecretContext<'_>,
        sealed: &SealedSecret,
    ) -> Result<Option<SealedSecret>, SealError> {
        if sealed.parts().is_some_and(|(id, _)| id == self.current.id) {
            return Ok(None);
        }
        let secret = self.open(context, sealed)?;
        // Two texts have two nonces. One text has one secret and one context, so it may use its nonce again.
        let nonce = self.current.derive("nonce", sealed.as_str());
        self.current.seal(context, &secret, nonce).map(Some)
    }
}

/// A key without earlier ones.
impl From<SealKey> for SealKeys {
    fn from(current: SealKey) -> Self {
        Self::new(current, Vec::new())
    }
}

impl SealKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut key = Self { bytes: SecretBox::new(Box::new(bytes)), id: SealKeyId(String::new()) };
        let id: [u8; ID_DIGITS / 2] = key.derive("id", "");
        key.id = SealKeyId(format!("{:016x}", u64::from_be_bytes(id)));
        key
    }

    fn seal(
        &self,
        context: &SecretContext<'_>,
        secret: &SecretString,
        nonce: [u8; NONCE],
    ) -> Result<SealedSecret, SealError> {
        let aad = context.associated_data();
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: &aad };
        let cipher = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let cipher = cipher.map_err(|_| SealError::Rejected)?;
        let body = STANDARD.encode([&nonce[..], &cipher].concat());
        Ok(SealedSecret { sealed: format!("{FORM}.{}.{body}", self.id) })
    }

    fn open(&self, context: &SecretContext<'_>, body: &str) -> Result<SecretString, SealError> {
        let bytes = STANDARD.decode(body).map_err(|_| SealError::Malformed)?;
        let (nonce, cipher) = bytes.split_first_chunk::<NONCE>().ok_or(SealError::Malformed)?;
        let aad = context.associated_data();
        let payload = Payload { msg: cipher, aad: &aad };
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        let plain = plain.map_err(|_| SealError::Rejected)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| SealError::Rejected)
    }

    /// At most 32 bytes that depend on the key, the purpose and the text (HMAC-SHA256).
    fn derive<const N: usize>(&self, purpose: &str, text: &str) -> [u8; N] {
        let key = self.bytes.expose_secret();
        let mut block = Zeroizing::new([0; BLOCK_SIZE]);
        block[..key.len()].copy_from_slice(key);
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        mac.update(format!("rejoinder sealed secret {purpose}:{text}").as_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        std::array::from_fn(|index| bytes.get(index).copied().unwrap_or_default())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose_secret().into())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(1));

    fn keys(current: u8, previous: &[u8]) -> SealKeys {
        let previous = previous.iter().map(|byte| SealKey::new([*byte; 32])).collect();
        SealKeys::new(SealKey::new([current; 32]), previous)
    }

    fn context(slug: &str) -> SecretContext<'_> {
        SecretContext::of_tool(WORKSPACE, slug, SecretField::Header("authorization"))
    }

    fn seal(keys: &SealKeys) -> SealedSecret {
        keys.seal(&context("orders"), &SecretString::from("token"), [7; NONCE]).unwrap()
    }

    #[test]
    fn a_sealed_secret_names_its_key_and_opens_with_it_alone() {
        let sealed = seal(&keys(1, &[]));

        let unknown = keys(2, &[]).open(&context("orders"), &sealed).unwrap_err();

        assert_eq!(keys(2, &[1]).open(&context("orders"), &sealed).unwrap().expose_secret(), "token");
        assert_eq!(unknown, SealError::UnknownKey(keys(1, &[]).current_id().clone()));
        assert!(sealed.as_str().starts_with(&format!("v1.{}.", keys(1, &[]).current_id())));
        assert_ne!(keys(1, &[]).current_id(), keys(2, &[]).current_id());
        assert!(!serde_json::to_string(&sealed).unwrap().contains("token"));
    }

    #[test]
    fn a_sealed_secret_opens_nowhere_else() {
        let keys = keys(1, &[]);
        let sealed = seal(&keys);
        let other = WorkspaceId(Uuid::from_u128(2));
        let field = SecretField::Header("Authorization");

        for context in [
            context("refunds"),
            SecretContext::of_tool(other, "orders", field),
            SecretContext::of_tool(WORKSPACE, "orders", SecretField::Header("x-key")),
            SecretContext::of_tool(WORKSPACE, "orders", SecretField::Placeholder("authorization")),
            SecretContext::of_tool(WORKSPACE, "orders", SecretField::Signing),
            SecretContext::of_calendar(WORKSPACE, CalendarId(WORKSPACE.0)),
            SecretContext::of_endpoint(WORKSPACE, EndpointId(WORKSPACE.0)),
            SecretContext::KEY_RECORD,
        ] {
            let error = keys.open(&context, &sealed).unwrap_err();
            assert_eq!(error, SealError::Rejected, "{context:?}");
            assert!(!error.to_string().contains("token"));
        }
        let same = SecretContext::of_tool(WORKSPACE, "orders", field);
        assert_eq!(
            keys.open(&same, &sealed).unwrap().expose_secret(),
            "token",
            "a header's name has no case"
        );
    }

    #[test]
    fn resealing_uses_the_current_key_and_keeps_copies_equal() {
        let sealed = seal(&keys(1, &[]));
        let rotated = keys(2, &[1]);

        let first = rotated.reseal(&context("orders"), &sealed).unwrap().unwrap();
        let second = rotated.reseal(&context("orders"), &sealed).unwrap().unwrap();

        assert_eq!(first, second);
        assert_eq!(keys(2, &[]).open(&context("orders"), &first).unwrap().expose_secret(), "token");
        assert_eq!(rotated.reseal(&context("orders"), &first), Ok(None));
        assert_eq!(rotated.reseal(&context("refunds"), &sealed), Err(SealError::Rejected));
    }

    #[test]
    fn other_texts_are_no_sealed_secrets() {
        let keys = keys(1, &[]);
        let id = keys.current_id();
        let former = STANDARD.encode([7; 64]);
        let forms = [format!("v2.{id}.AAAA"), format!("v1.{id}.AAAA"), former];
        for text in ["", "v1", "v1..", "v1.XYZ.AAAA"].map(str::to_owned).into_iter().chain(forms) {
            let sealed = SealedSecret::from_stored(text.clone());
            assert_eq!(keys.open(&context("orders"), &sealed).unwrap_err(), SealError::Malformed, "{text}");
        }
    }
}
