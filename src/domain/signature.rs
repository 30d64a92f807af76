//! Webhook signatures of Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::Sha256;

/// The prefix of a secret.
const PREFIX: &str = "whsec_";
/// The block size of SHA-256: shorter keys are padded with zeros.
const BLOCK_SIZE: usize = 64;

/// A signing key of 24 to 64 bytes. Its `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub struct SigningSecret(SecretSlice<u8>);

/// A text that is not a signing secret. The error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct InvalidSigningSecret;

impl SigningSecret {
    /// The texts that `parse` accepts, as a regular expression: whole groups of three bytes, and perhaps one or two more bytes.
    pub const PATTERN: &str = concat!(
        "^whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/][AQgw](==)?|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=?)?",
        "|([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/][AQgw](==)?)?)$",
    );

    /// Parses `whsec_…` (base64, padding optional).
    pub fn parse(text: &str) -> Result<Self, InvalidSigningSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSigningSecret)?;
        let key =
            STANDARD_PAD_INDIFFERENT.decode(encoded).map_err(|_reveals_position| InvalidSigningSecret)?;
        if (24..=BLOCK_SIZE).contains(&key.len()) { Ok(Self(key.into())) } else { Err(InvalidSigningSecret) }
    }

    /// A new secret from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes.to_vec().into())
    }

    /// The `whsec_…` text, which its owner sees once and the database stores sealed.
    pub fn to_text(&self) -> SecretString {
        format!("{PREFIX}{}", STANDARD.encode(self.0.expose_secret())).into()
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let key = self.0.expose_secret();
        let mut block = Zeroizing::new([0; BLOCK_SIZE]);
        block[..key.len()].copy_from_slice(key);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// The `webhook-signature` header: a `v1,…` for each secret, separated by spaces, so that a receiver may use either
/// during a rotation. `timestamp` is in seconds since 1970, `body` the bytes that are sent.
pub fn sign(id: &str, timestamp: i64, body: &[u8], secrets: &[SigningSecret]) -> String {
    let mut header = String::new();
    for secret in secrets {
        let space = if header.is_empty() { "" } else { " " };
        // Writing to a `String` cannot fail.
        let _ = write!(header, "{space}v1,{}", secret.sign(id, timestamp, body));
    }
    header
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    /// The vector of the Standard Webhooks reference libraries.
    #[test]
    fn the_reference_vector_is_met() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();

        assert_eq!(sign(ID, TIME, BODY, &[secret]), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// RFC 2104 by hand.
    fn hmac_by_hand(key: &[u8], message: &[u8]) -> String {
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        let inner =
            Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
        STANDARD
            .encode(Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize())
    }

    #[test]
    fn each_secret_signs_whatever_its_length() {
        let keys = [vec![1; 24], vec![2; 63], vec![255; 64]];
        let secrets =
            keys.clone().map(|key| SigningSecret::parse(&format!("whsec_{}", STANDARD.encode(key))).unwrap());
        let signed = [b"evt_1.-5.".as_slice(), b"\x00\xff"].concat();

        let header = sign("evt_1", -5, b"\x00\xff", &secrets);

        let expected = keys.map(|key| format!("v1,{}", hmac_by_hand(&key, &signed))).join(" ");
        assert_eq!(header, expected);
        assert_eq!(sign("evt_1", 5, b"", &[]), "");
    }

    #[test]
    fn a_new_secret_is_read_back() {
        let secret = SigningSecret::from_random([7; 32]);

        let text = secret.to_text();
        let parsed = SigningSecret::parse(text.expose_secret()).unwrap();

        assert_eq!(text.expose_secret(), "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        assert_eq!(sign(ID, TIME, BODY, &[secret]), sign(ID, TIME, BODY, &[parsed]));
        assert!(SigningSecret::parse(text.expose_secret().trim_end_matches('=')).is_ok());
    }

    #[test]
    fn an_invalid_secret_is_refused_without_repeating_it() {
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        for text in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "WHSEC_AAAA", &long, &short]
        {
            assert_eq!(SigningSecret::parse(text).unwrap_err(), InvalidSigningSecret, "{text}");
        }
        let debug = format!("{:?}", SigningSecret::from_random([7; 32]));
        assert!(!debug.contains('7'), "{debug}");
    }
}
