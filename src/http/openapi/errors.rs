//! The errors of each door, for the document: by status, with an example of each.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};

/// What the widget door may refuse with.
#[derive(Debug)]
pub(in crate::http) struct WidgetErrors;

/// What the platform door may refuse with.
#[derive(Debug)]
pub(in crate::http) struct PlatformErrors;

type Responses = BTreeMap<String, RefOr<Response>>;

fn error(description: &str, example: Value) -> RefOr<Response> {
    let content = ContentBuilder::new().example(Some(example)).build();
    let code = HeaderBuilder::new().description(Some("A stable code of the error")).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .header("Rejoinder-Error", code);
    RefOr::T(response.build())
}

fn all(errors: impl IntoIterator<Item = (u16, &'static str, Value)>) -> Responses {
    errors.into_iter().map(|(status, text, example)| (status.to_string(), error(text, example))).collect()
}

impl IntoResponses for WidgetErrors {
    fn responses() -> Responses {
        let refusal = |error: &str| json!({"status": false, "error": error});
        all([
            (
                400,
                "The message could not be processed; nothing was charged",
                refusal("Failed to process message: Connection timeout"),
            ),
            (401, "A key was sent that does not hold", refusal("Invalid or expired token.")),
            (
                403,
                "The page's origin, or the key's scope, does not allow it",
                refusal("This origin is not allowed."),
            ),
            (404, "There is no such conversation", refusal("Conversation not found")),
            (
                409,
                "A request with this Idempotency-Key is under way",
                refusal("A request with this Idempotency-Key is still being processed"),
            ),
            (413, "The body is over 64 KiB", refusal("The request body must not be greater than 64 KiB.")),
            (
                422,
                "A field is to be mended",
                json!({
                    "message": "The message field is required.",
                    "errors": {"message": ["The message field is required."]}
                }),
            ),
            (
                429,
                "A limit is reached; see Retry-After",
                json!({"message": "Too Many Attempts.", "retry_after": 3}),
            ),
            (503, "The server is overloaded; see Retry-After", refusal("The server is overloaded")),
        ])
    }
}

impl IntoResponses for PlatformErrors {
    fn responses() -> Responses {
        let refusal = |message: &str| json!({"status": "error", "message": message, "data": null});
        all([
            (400, "A field is to be mended", refusal("Field 'text' is required.")),
            (401, "The key is missing or does not hold", refusal("Invalid or expired token.")),
            (403, "The key lacks a scope", refusal("This key lacks the scope 'messages:write'.")),
            (
                404,
                "There is no such thing in this workspace",
                refusal("Conversation not found: con_9s2kd81."),
            ),
            (
                409,
                "A request with this Idempotency-Key is under way",
                refusal("A request with this Idempotency-Key is still being processed"),
            ),
            (413, "The body is over 256 KiB", refusal("The request body must not be greater than 256 KiB.")),
            (
                422,
                "The Idempotency-Key was used otherwise",
                refusal("This Idempotency-Key was used with another request"),
            ),
            (429, "A bound is reached; see Retry-After", refusal("Too many replies are being made")),
            (500, "The store refused or is away", refusal("Failed to enqueue message. Please retry.")),
        ])
    }
}
