//! Errors in the JSON of vendors: in the body of a failed request, or inside a response with a successful status.

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::chat::{ModelError, ModelErrorDetail, ModelErrorKind, ModelErrorMessage};

use super::http::status_kind;

/// The longest code that is kept, in characters.
const MAX_CODE: usize = 64;

/// The error that a chunk contains, in any of the known forms: `{"error": {…}}`, `{"error": "…"}`, of Gemini one of
/// these in a list, and of vLLM, Mistral and `FastAPI` an error in place of the chunk.
pub(super) fn find(chunk: &Value) -> Option<&Value> {
    let chunk = chunk.get(0).unwrap_or(chunk);
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        return Some(error);
    }
    let says_error = |key: &str| chunk.get(key).and_then(Value::as_str) == Some("error");
    let has_message = chunk.get("message").is_some() || chunk.get("detail").is_some();
    let is_error = says_error("object") || says_error("type") || has_message;
    (is_error && chunk.get("choices").is_none()).then_some(chunk)
}

/// An error inside a response with a successful status.
pub(super) fn embedded(error: &Value) -> ModelError {
    let detail = detail(error, status_of(error));
    ModelError { kind: classify(error), detail: Some(Box::new(detail)) }
}

/// What the body of a failed request says.
pub(super) fn read(body: &[u8], status: StatusCode) -> ModelErrorDetail {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return ModelErrorDetail { status: Some(status.as_u16()), ..ModelErrorDetail::default() };
    };
    detail(find(&json).unwrap_or(&json), Some(status))
}

fn detail(error: &Value, status: Option<StatusCode>) -> ModelErrorDetail {
    let text = |key: &str, max| {
        let value = error.get(key)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(bounded(&text, max)).filter(|text| !text.is_empty() && text != "null")
    };
    // The endpoint shortens it, after it has removed its key.
    let message = text("message", usize::MAX).or_else(|| text("detail", usize::MAX));
    ModelErrorDetail {
        status: status.map(|status| status.as_u16()),
        code: ["code", "status", "type"]
            .iter()
            .find_map(|key| word(error.get(key)?))
            .or_else(|| text("code", MAX_CODE)),
        message: message
            .or_else(|| error.as_str().map(|text| bounded(text, usize::MAX)))
            .map(|text| ModelErrorMessage::Foreign(text.into())),
        ..ModelErrorDetail::default()
    }
}

/// A code that says more than a number. `LiteLLM` writes the word None for an absent type.
fn word(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty() && *text != "None")?;
    text.parse::<u64>().is_err().then(|| bounded(text, MAX_CODE))
}

/// On one line.
fn bounded(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn status_of(error: &Value) -> Option<StatusCode> {
    ["code", "status", "status_code"].iter().find_map(|key| status(error.get(key)?))
}

/// What an error means. Its code is a status or a word.
fn classify(error: &Value) -> ModelErrorKind {
    if let Some(status) = status_of(error) {
        return status_kind(status, None);
    }
    let words =
        ["code", "type", "status", "message", "detail"].iter().filter_map(|key| error.get(key)?.as_str());
    let words: String = words.chain(error.as_str()).map(normalized).collect();
    let has = |known: &[&str]| known.iter().any(|known| words.contains(known));
    if has(&["ratelimit", "insufficientquota", "toomanyrequests", "resourceexhausted"]) {
        ModelErrorKind::RateLimited { retry_after: None }
    } else if has(&["overloaded", "servererror", "unavailable", "internal"]) {
        ModelErrorKind::Unavailable
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
        ModelErrorKind::Refused
    } else {
        ModelErrorKind::Unavailable
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
