//! Identity tokens, as the back end of a site makes them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::server::ASSISTANT;

/// The secret of the environment in which the workspace file is applied.
pub const SECRET: &str = "an-identity-secret-of-more-than-32-bytes";
/// The one that replaces it.
pub const NEXT_SECRET: &str = "another-identity-secret-of-more-than-32-bytes";

/// The time of the fixed clock, in seconds.
pub const NOW: i64 = 1_773_584_531;

/// The claims of a token that names a visitor of the default assistant for an hour.
pub fn claims(subject: &str) -> Value {
    json!({ "sub": subject, "aud": ASSISTANT, "exp": NOW + 3600 })
}

/// A token with these claims, signed with HMAC-SHA256 whatever its header says.
pub fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes any key");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A token with these claims.
pub fn token(claims: &Value) -> String {
    sign(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}
