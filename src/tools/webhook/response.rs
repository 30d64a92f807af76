//! Converts a response or an error to the result for the model.

use http::Method;
use serde_json::Value;

use super::MAX_RESPONSE;
use super::endpoint::Endpoint;
use crate::domain::chat::{clean_text, clean_value};
use crate::domain::tool_loop::{CallResult, json_prefix};
use crate::outbound::{OutboundError, OutboundResponse};
use crate::tools::secrets::Secrets;
use crate::tools::truncation::truncate_result;

/// Maximum number of quoted bytes of a client error.
const MAX_EXCERPT: usize = 1024;

/// The result of a response with any status.
pub(super) fn read(response: &OutboundResponse, secrets: &Secrets<'_>) -> CallResult {
    match response.status {
        200..=299 => truncate_result(read_body(response, secrets)),
        300..=399 => CallResult::failed(format!(
            "The endpoint answered with a redirect (status {}), which is not followed.",
            response.status
        )),
        400..=499 => CallResult::failed(client_error(response, secrets)),
        status => CallResult::failed(format!("The endpoint failed with status {status}.")),
    }
}

/// The error text for the model, without network details.
pub(super) fn describe(error: &OutboundError, endpoint: &Endpoint) -> String {
    let caveat =
        if endpoint.method == Method::GET { "" } else { " The call may or may not have taken effect." };
    match error {
        OutboundError::Refused(error) => format!("The call was not sent: {error}."),
        OutboundError::Timeout => {
            format!("The endpoint did not answer within {} s.{caveat}", endpoint.timeout.as_secs_f32())
        }
        OutboundError::Connect(_) => "No connection to the endpoint could be made.".to_owned(),
        OutboundError::TooLarge { status } => format!(
            "The endpoint answered with status {status}, but with more than {} KiB, which is too large to read.",
            MAX_RESPONSE / 1024
        ),
        OutboundError::Broken(_) => {
            format!("The connection to the endpoint broke before its answer was complete.{caveat}")
        }
        OutboundError::Setup(_) => "The call could not be sent.".to_owned(),
    }
}

fn read_body(response: &OutboundResponse, secrets: &Secrets<'_>) -> Value {
    let kind = response.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let looks_like_json = response.body.trim_ascii_start().starts_with(b"{")
        || response.body.trim_ascii_start().starts_with(b"[");
    if (looks_like_json || kind.contains("json"))
        && let Ok(value) = serde_json::from_slice(&response.body)
    {
        return secrets.redact_value(clean_value(value));
    }
    let text = clean_text(String::from_utf8_lossy(&response.body).into_owned());
    Value::String(secrets.redact_text(text))
}

/// The error text quotes the body, which usually describes the problem, unless it is a web page.
fn client_error(response: &OutboundResponse, secrets: &Secrets<'_>) -> String {
    let status = response.status;
    let is_page =
        response.content_type.as_deref().is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let body = read_body(response, secrets);
    let text = match body.as_str() {
        Some(_) if is_page => String::new(),
        Some(text) => text.to_owned(),
        None => body.to_string(),
    };
    let text = text.trim();
    if text.is_empty() {
        return format!("The endpoint answered with status {status}.");
    }
    let excerpt = json_prefix(text, MAX_EXCERPT);
    let dots = if excerpt.len() < text.len() { "…" } else { "" };
    format!("The endpoint answered with status {status}: {excerpt}{dots}")
}
