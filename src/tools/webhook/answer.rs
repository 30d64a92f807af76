//! What an endpoint's answer, or the lack of one, is to the model.

use http::Method;
use serde_json::Value;

use super::MAX_RESPONSE;
use super::endpoint::Endpoint;
use super::secrets::Secrets;
use crate::domain::chat::{clean_text, clean_value};
use crate::domain::tool_loop::CallResult;
use crate::outbound::{OutboundError, OutboundResponse};

/// The longest result that reaches the model, in bytes of its JSON text.
const MAX_SHOWN: usize = 256 * 1024;
/// Of these, what the result's own braces and the marker of a cut may take.
const MARGIN: usize = 128;
/// How much of a refusal's text is repeated, in bytes.
const MAX_EXCERPT: usize = 1024;

enum Body {
    Json(Value),
    Text(String),
}

/// The result of a call that was answered, whatever the status.
pub(super) fn read(response: &OutboundResponse, secrets: &Secrets<'_>) -> CallResult {
    match response.status {
        200..=299 => shown(read_body(response, secrets)),
        300..=399 => CallResult::failed(format!(
            "The endpoint answered with a redirect (status {}), which is not followed.",
            response.status
        )),
        400..=499 => CallResult::failed(refusal(response, secrets)),
        status => CallResult::failed(format!("The endpoint failed with status {status}.")),
    }
}

/// What went wrong, without anything of the network inside.
pub(super) fn describe(error: &OutboundError, endpoint: &Endpoint) -> String {
    let doubt =
        if endpoint.method == Method::GET { "" } else { " The call may or may not have taken effect." };
    match error {
        OutboundError::Refused(refused) => format!("The call was not sent: {refused}."),
        OutboundError::Timeout => {
            format!("The endpoint did not answer within {} s.{doubt}", endpoint.timeout.as_secs_f32())
        }
        OutboundError::Connect(_) => "No connection to the endpoint could be made.".to_owned(),
        OutboundError::TooLarge { status } => format!(
            "The endpoint answered with status {status}, but with more than {} KiB, which is too large to read.",
            MAX_RESPONSE / 1024
        ),
        OutboundError::Broken(_) => {
            format!("The connection to the endpoint broke before its answer was complete.{doubt}")
        }
        OutboundError::Setup(_) => "The call could not be sent.".to_owned(),
    }
}

fn read_body(response: &OutboundResponse, secrets: &Secrets<'_>) -> Body {
    let kind = response.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let looks_like_json = response.body.trim_ascii_start().starts_with(b"{")
        || response.body.trim_ascii_start().starts_with(b"[");
    if (looks_like_json || kind.contains("json"))
        && let Ok(value) = serde_json::from_slice(&response.body)
    {
        return Body::Json(secrets.redact_value(clean_value(value)));
    }
    let text = clean_text(String::from_utf8_lossy(&response.body).into_owned());
    Body::Text(secrets.redact_text(text))
}

fn shown(body: Body) -> CallResult {
    let text = match body {
        Body::Json(value) => {
            let text = value.to_string();
            if text.len() <= MAX_SHOWN - MARGIN {
                return CallResult::new(value);
            }
            text
        }
        Body::Text(text) => text,
    };
    let kept = cut(&text, MAX_SHOWN - MARGIN);
    if kept.len() == text.len() {
        return CallResult::new(Value::String(text));
    }
    let marked = format!("{kept}\n[cut here: the whole answer has {} bytes]", text.len());
    CallResult::new(Value::String(marked))
}

/// A client's error usually says what to mend; a web page does not.
fn refusal(response: &OutboundResponse, secrets: &Secrets<'_>) -> String {
    let status = response.status;
    let is_page =
        response.content_type.as_deref().is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let text = match read_body(response, secrets) {
        Body::Text(_) if is_page => String::new(),
        Body::Text(text) => text,
        Body::Json(value) => value.to_string(),
    };
    let text = text.trim();
    if text.is_empty() {
        return format!("The endpoint answered with status {status}.");
    }
    let excerpt = cut(text, MAX_EXCERPT);
    let dots = if excerpt.len() < text.len() { "…" } else { "" };
    format!("The endpoint answered with status {status}: {excerpt}{dots}")
}

/// The longest beginning of a text that takes at most `max` bytes as a JSON string.
fn cut(text: &str, max: usize) -> &str {
    let mut left = max;
    for (at, c) in text.char_indices() {
        let size = match c {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if size > left {
            return &text[..at];
        }
        left -= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_what_json_makes_of_a_text_and_splits_no_character() {
        for (text, max, kept) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("a\"b", 2, "a"),
            ("a\u{1}", 6, "a"),
            ("a\u{1}", 7, "a\u{1}"),
            ("🙂", 3, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, max), kept, "{text:?} at {max}");
        }
        let all: String = ('\u{1}'..'\u{300}').collect();
        assert_eq!(cut(&all, Value::from(all.as_str()).to_string().len() - 2), all);
        assert!(cut(&all, Value::from(all.as_str()).to_string().len() - 3).len() < all.len());
    }
}
