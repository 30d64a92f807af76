//! Identities of visitors: JSON Web Tokens (RFC 7519) that the back end of a site signs with a secret that it shares with this server.
//! Only HMAC-SHA256 is accepted, whatever a token says of itself.

#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value};
use sha2::Sha256;
use uuid::Uuid;

use super::clock::Micros;
use super::ids::{AssistantId, IdentitySecretId, WorkspaceId};
use super::seal::SealedSecret;
use super::template::is_variable;

/// The most secrets of an assistant: two, while one replaces the other.
pub const MAX_SECRETS: usize = 2;
/// The shortest secret, in bytes: as long as the hash (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;
/// The longest secret, in bytes.
const MAX_SECRET: usize = 512;
/// The texts that are a secret, as a regular expression.
pub const SECRET_PATTERN: &str = "^[!-~]{32,512}$";
/// The longest subject, in bytes.
const MAX_SUBJECT: usize = 255;

/// The prefix of a generated secret.
const PREFIX: &str = "idsec_";
/// The longest token, in bytes.
const MAX_TOKEN: usize = 4 * 1024;
/// The most claims that become variables.
const MAX_VARIABLES: usize = 32;
/// The longest name of one, in bytes.
const MAX_NAME: usize = 64;
/// How far ahead a token may expire.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// How far two clocks may differ.
const LEEWAY: Duration = Duration::from_mins(1);
/// The claims of RFC 7519, which are no variables.
const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// A visitor whom a valid token names.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Its `sub`.
    pub subject: String,
    /// Its other claims: strings, numbers and booleans.
    pub variables: Map<String, Value>,
    /// The end of these.
    pub expires_at: Micros,
}

impl Identity {
    /// When its token is no longer accepted.
    #[must_use]
    pub fn ends_at(&self) -> Micros {
        self.expires_at.plus(LEEWAY)
    }
}

/// A secret that signs the tokens of an assistant's visitors.
#[derive(Clone, Debug)]
pub struct IdentitySecret {
    pub workspace: WorkspaceId,
    pub id: IdentitySecretId,
    pub assistant: AssistantId,
    pub secret: SealedSecret,
    pub created_at: Micros,
}

/// Why a token is refused. The error shows nothing of the token but the names of claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    #[error("it is missing")]
    Missing,
    #[error("it is longer than {MAX_TOKEN} bytes")]
    TooLong,
    #[error("it is not a signed JSON Web Token")]
    Malformed,
    #[error("its algorithm is not HS256")]
    Algorithm,
    #[error("the assistant has no identity secret")]
    NoSecret,
    #[error("its signature was not made with an identity secret of this assistant")]
    Signature,
    #[error("its audience (aud) is not the id of this assistant")]
    Audience,
    #[error("its subject (sub) is not a text of 1 to {MAX_SUBJECT} bytes")]
    Subject,
    #[error("its claim '{0}' is not a time in seconds since 1970")]
    Time(&'static str),
    #[error("it has no expiry time (exp)")]
    NoExpiry,
    #[error("it has expired (exp)")]
    Expired,
    #[error("it expires (exp) more than 24 hours ahead")]
    ExpiryTooFar,
    #[error("it is not valid yet (nbf or iat)")]
    NotYet,
    #[error("its claim '{0}' is not the name of a variable with a text, a number or a boolean")]
    Claim(String),
    #[error("it has more than {MAX_VARIABLES} claims of its own")]
    TooManyClaims,
}

/// The header of a token.
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that the reader has to understand.
    crit: Option<IgnoredAny>,
}

/// Whether a text is a secret: printable ASCII without spaces, so that its bytes are the same wherever it is pasted.
#[must_use]
pub fn is_secret(text: &str) -> bool {
    (MIN_SECRET..=MAX_SECRET).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A generated secret from random bytes, which its owner sees once and the database stores sealed.
#[must_use]
pub fn secret_from_random(bytes: [u8; 32]) -> SecretString {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

/// Checks a token for the visitors of an assistant, which one of its secrets has signed.
///
/// # Errors
/// The first rule that the token breaks. Claims are only looked at if the signature is right.
pub fn verify(
    token: &str,
    assistant: AssistantId,
    secrets: &[SecretString],
    now: Micros,
) -> Result<Identity, InvalidIdentity> {
    let payload = check_signature(token, secrets)?;
    let claims: Map<String, Value> =
        serde_json::from_slice(&payload).map_err(|_reveals_text| InvalidIdentity::Malformed)?;
    if !claims.get("aud").is_some_and(|audience| is_for(audience, assistant)) {
        return Err(InvalidIdentity::Audience);
    }
    let expires_at = check_times(&claims, now)?;
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| is_subject(subject));
    let subject = subject.ok_or(InvalidIdentity::Subject)?.to_owned();
    Ok(Identity { subject, variables: variables(claims)?, expires_at })
}

/// The payload of a token that one of the secrets has signed.
fn check_signature(token: &str, secrets: &[SecretString]) -> Result<Vec<u8>, InvalidIdentity> {
    if token.is_empty() {
        return Err(InvalidIdentity::Missing);
    }
    if token.len() > MAX_TOKEN {
        return Err(InvalidIdentity::TooLong);
    }
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_reveals_position| InvalidIdentity::Malformed);
    let (signed, signature) = token.rsplit_once('.').ok_or(InvalidIdentity::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(InvalidIdentity::Malformed)?;
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_reveals_text| InvalidIdentity::Malformed)?;
    if header.alg != "HS256" {
        return Err(InvalidIdentity::Algorithm);
    }
    if header.crit.is_some() {
        return Err(InvalidIdentity::Malformed);
    }
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    if secrets.is_empty() {
        return Err(InvalidIdentity::NoSecret);
    }
    let is_signed = secrets.iter().any(|secret| is_signed_by(secret, signed, &signature));
    if is_signed { Ok(payload) } else { Err(InvalidIdentity::Signature) }
}

/// Compares in constant time.
fn is_signed_by(secret: &SecretString, signed: &str, signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { return false };
    mac.update(signed.as_bytes());
    mac.verify_slice(signature).is_ok()
}

fn is_for(audience: &Value, assistant: AssistantId) -> bool {
    match audience {
        Value::String(name) => {
            name.parse() == Ok(assistant)
                || (name.len() == 36 && Uuid::try_parse(name).is_ok_and(|uuid| uuid == assistant.0))
        }
        Value::Array(names) => names.iter().any(|name| name.is_string() && is_for(name, assistant)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// The expiry time of a token that is valid now.
fn check_times(claims: &Map<String, Value>, now: Micros) -> Result<Micros, InvalidIdentity> {
    let time = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => from_seconds(seconds).map(Some).ok_or(InvalidIdentity::Time(name)),
        Some(_) => Err(InvalidIdentity::Time(name)),
    };
    let expires_at = time("exp")?.ok_or(InvalidIdentity::NoExpiry)?;
    if expires_at <= now.minus(LEEWAY) {
        return Err(InvalidIdentity::Expired);
    }
    if expires_at > now.plus(MAX_LIFETIME).plus(LEEWAY) {
        return Err(InvalidIdentity::ExpiryTooFar);
    }
    for begin in [time("nbf")?, time("iat")?] {
        if begin.is_some_and(|begin| begin > now.plus(LEEWAY)) {
            return Err(InvalidIdentity::NotYet);
        }
    }
    Ok(expires_at)
}

/// A time in seconds since 1970, whose fraction is dropped.
fn from_seconds(seconds: &Number) -> Option<Micros> {
    let text = seconds.to_string();
    let whole: i64 = text.split('.').next()?.parse().ok()?;
    whole.checked_mul(1_000_000).map(Micros)
}

fn is_subject(subject: &str) -> bool {
    !subject.trim().is_empty() && subject.len() <= MAX_SUBJECT && !subject.contains('\0')
}

/// The claims that are not registered.
fn variables(mut claims: Map<String, Value>) -> Result<Map<String, Value>, InvalidIdentity> {
    claims.retain(|name, _| !REGISTERED.contains(&name.as_str()));
    if claims.len() > MAX_VARIABLES {
        return Err(InvalidIdentity::TooManyClaims);
    }
    for (name, value) in &claims {
        let is_valid = match value {
            Value::String(text) => !text.contains('\0'),
            Value::Number(_) | Value::Bool(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if !is_valid || name.len() > MAX_NAME || !is_variable(name) {
            return Err(InvalidIdentity::Claim(name.chars().take(MAX_NAME).collect()));
        }
    }
    Ok(claims)
}
