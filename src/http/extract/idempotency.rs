//! The `Idempotency-Key` header, and the fingerprint of its request.

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::domain::error::Error;

const MAX_LENGTH: usize = 255;

/// The key of a request: 1 to 255 printable ASCII characters, so also a quoted string of the IETF draft. White space around
/// it is no part of a header.
pub(in crate::http) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().map_err(|_| Error::IdempotencyKeyMalformed)?;
    if values.next().is_some() || key.trim().is_empty() || key.len() > MAX_LENGTH || key.contains('\t') {
        return Err(Error::IdempotencyKeyMalformed);
    }
    Ok(Some(key.to_owned()))
}

/// An identifier that may serve as a key; none if a header could not have it.
pub(in crate::http) fn key_from(identifier: &str) -> Option<String> {
    let is_printable = identifier.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let is_key = is_printable && !identifier.trim().is_empty() && identifier.len() <= MAX_LENGTH;
    is_key.then(|| identifier.to_owned())
}

/// A key with the SHA-256 of its request's route and raw body.
pub(in crate::http) fn idempotency_request(
    key: Option<String>,
    route: &str,
    body: &[u8],
) -> Option<(String, Vec<u8>)> {
    let key = key?;
    let mut hash = Sha256::new();
    hash.update(route.as_bytes());
    hash.update(b"\n");
    hash.update(body);
    Some((key, hash.finalize().to_vec()))
}
