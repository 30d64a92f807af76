//! The exchange of a test call: bounded, with each secret masked.

use http::HeaderMap;

use crate::domain::chat::clean_text;
use crate::outbound::{OutboundError, OutboundRequest, OutboundResponse};
use crate::tools::exchange::{ReceivedResponse, SentRequest};
use crate::tools::secrets::{MASK, Secrets};

/// Maximum number of captured bytes of a body.
const MAX_BODY: usize = 16 * 1024;

/// Must be called after all secrets of the call are known.
pub(super) fn request(request: &OutboundRequest, secrets: &Secrets<'_>) -> SentRequest {
    SentRequest {
        method: request.method.to_string(),
        url: secrets.redact_text(request.url.clone()),
        headers: headers(&request.headers, secrets),
        body: request.body.as_deref().map(|body| excerpt(body, secrets)),
    }
}

pub(super) fn response(
    outcome: &Result<OutboundResponse, OutboundError>,
    secrets: &Secrets<'_>,
) -> Option<ReceivedResponse> {
    match outcome {
        Ok(response) => Some(ReceivedResponse {
            status: response.status,
            content_type: response.content_type.clone().map(|kind| secrets.redact_text(kind)),
            body: Some(excerpt(&response.body, secrets)),
        }),
        Err(OutboundError::TooLarge { status }) => {
            Some(ReceivedResponse { status: *status, content_type: None, body: None })
        }
        Err(_) => None,
    }
}

fn headers(headers: &HeaderMap, secrets: &Secrets<'_>) -> Vec<(String, String)> {
    let entry = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = if value.is_sensitive() {
            MASK.to_owned()
        } else {
            secrets.redact_text(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        (name.to_string(), value)
    };
    headers.iter().map(entry).collect()
}

/// Masked before it is truncated, because half a secret would not be found.
fn excerpt(body: &[u8], secrets: &Secrets<'_>) -> String {
    let mut text = secrets.redact_text(clean_text(String::from_utf8_lossy(body).into_owned()));
    if text.len() > MAX_BODY {
        text.truncate(text.floor_char_boundary(MAX_BODY));
        text.push('…');
    }
    text
}
