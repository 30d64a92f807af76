//! Errors in the JSON of vendors: in the body of a failed request, or inside a response with a successful status.

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::chat::ModelError;

use super::http::status_error;

/// The error that a chunk contains, in any of the known forms: `{"error": {…}}`, `{"error": "…"}`, and, of vLLM, Mistral
/// and FastAPI, an error in place of the chunk.
pub(super) fn find(chunk: &Value) -> Option<&Value> {
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        return Some(error);
    }
    let says_error = |key: &str| chunk.get(key).and_then(Value::as_str) == Some("error");
    let has_message = chunk.get("message").is_some() || chunk.get("detail").is_some();
    let is_error = says_error("object") || says_error("type") || has_message;
    (is_error && chunk.get("choices").is_none()).then_some(chunk)
}

/// What an error means. Its code is a status or a word.
pub(super) fn classify(error: &Value) -> ModelError {
    if let Some(status) = ["code", "status", "status_code"].iter().find_map(|key| status(error.get(key)?)) {
        return status_error(status, None);
    }
    let words =
        ["code", "type", "status", "message", "detail"].iter().filter_map(|key| error.get(key)?.as_str());
    let words: String = words.chain(error.as_str()).map(normalized).collect();
    let has = |known: &[&str]| known.iter().any(|known| words.contains(known));
    if has(&["ratelimit", "insufficientquota", "toomanyrequests", "resourceexhausted"]) {
        ModelError::RateLimited { retry_after: None }
    } else if has(&["overloaded", "servererror", "unavailable", "internal"]) {
        ModelError::Unavailable
    } else if has(&[
        "invalidrequest",
        "badrequest",
        "invalidargument",
        "unprocessable",
        "contextlength",
        "notfound",
        "authentication",
        "permission",
        "unauthorized",
        "forbidden",
        "unsupported",
        "doesnotsupport",
        "contentfilter",
    ]) {
        ModelError::Refused
    } else {
        ModelError::Unavailable
    }
}

fn status(value: &Value) -> Option<StatusCode> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    StatusCode::from_u16(u16::try_from(number).ok()?).ok()
}

/// Vendors write `rate_limit_error`, `RateLimitError` and "Rate limit reached".
fn normalized(words: &str) -> String {
    words.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).chain([' ']).collect()
}

/// The code in the body of an error, if it may be logged.
pub(super) fn code(json: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(json).ok()?;
    let error = find(&body)?;
    let code = error.get("code").and_then(Value::as_str).or_else(|| error.get("type")?.as_str())?;
    let is_plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_plain.then(|| code.to_owned())
}
