//! The errors of each kind of route, for the document: by status, with an example of each
//! cause. An example is what the door's own envelope makes of the error itself.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};

use crate::domain::account::Scope;
use crate::domain::error::{Error, ResourceKind};
use crate::domain::failure::Failure;
use crate::http::envelope::{
    AutomateOptions, EnqueueOptions, Envelope, Platform, TextUploadOptions, UploadOptions, Widget,
};
use crate::http::error::{Problem, TransportError};

type Responses = BTreeMap<String, RefOr<Response>>;

/// Sets of errors, each with the envelope that renders them.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident($envelope:ty) { $($summary:literal => $problem:expr,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(in crate::http) struct $name;

            impl IntoResponses for $name {
                fn responses() -> Responses {
                    by_status::<$envelope>([$(($summary, Problem::from($problem))),+])
                }
            }
        )+
    };
}

errors! {
    /// Of a visitor's message.
    ReplyErrors(Widget) {
        "The message could not be processed; nothing was charged" => Error::Processing(Failure::Timeout),
        "The balance does not cover a reply; nothing was stored" => Error::InsufficientBalance,
        "The Idempotency-Key is none" => Error::IdempotencyKeyMalformed,
        "A key was sent that does not hold" => Error::Unauthenticated,
        "The page's origin is not allowed" => Error::OriginRefused,
        "There is no such conversation" => conversation_not_found(),
        "A request with this Idempotency-Key is under way; see Retry-After" => request_in_flight(),
        "The body is over 64 KiB" => too_large::<Widget>(),
        "A field is to be mended" => Error::invalid("message", "The message field is required."),
        "The Idempotency-Key was used with another request" => Error::IdempotencyKeyReused,
        "A limit is reached; see Retry-After" => limit_reached(),
        "The server is overloaded; see Retry-After" => overloaded(),
    }

    /// Of a conversation that a visitor begins.
    BeginErrors(Widget) {
        "The balance does not cover one reply" => Error::InsufficientBalance,
        "The store is away" => unavailable(),
        "The server failed; the log says why" => internal(),
        "A key was sent that does not hold" => Error::Unauthenticated,
        "The page's origin is not allowed" => Error::OriginRefused,
        "There is no such assistant" => assistant_not_found(),
        "The body is over 64 KiB" => too_large::<Widget>(),
        "A field is to be mended" => Error::invalid("assistant_id", "The assistant id field is required."),
        "A limit is reached; see Retry-After" => limit_reached(),
        "The server is overloaded; see Retry-After" => overloaded(),
    }

    /// Of a history that a visitor reads.
    HistoryErrors(Widget) {
        "The store is away" => unavailable(),
        "The server failed; the log says why" => internal(),
        "A key was sent that does not hold" => Error::Unauthenticated,
        "The page's origin is not allowed" => Error::OriginRefused,
        "There is no such conversation" => conversation_not_found(),
        "There is no such message in it" => Error::not_found(ResourceKind::Message, "msg_45kd01"),
        "A field of the query is to be mended" => Error::invalid("limit", "The limit field must be between 1 and 200."),
        "A limit is reached; see Retry-After" => limit_reached(),
    }

    /// Of the switch of a conversation's AI.
    SwitchErrors(AutomateOptions) {
        "The store is away" => unavailable(),
        "The server failed; the log says why" => internal(),
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::MessagesWrite.as_str()),
        "There is no such conversation" => conversation_not_found(),
        "The server is overloaded; see Retry-After" => overloaded(),
    }

    /// Of a message from a back end.
    SendErrors(EnqueueOptions) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("text", "Field 'text' is required."),
        "The Idempotency-Key is none" => Error::IdempotencyKeyMalformed,
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::MessagesWrite.as_str()),
        "There is no such conversation in this workspace" => conversation_not_found(),
        "There is no such message in it" => Error::not_found(ResourceKind::Message, "msg_45kd01"),
        "The body is over 256 KiB" => too_large::<EnqueueOptions>(),
        "The Idempotency-Key was used with another request" => Error::IdempotencyKeyReused,
        "A limit is reached; see Retry-After" => limit_reached(),
        "A bound is reached; see Retry-After" => overloaded(),
        "The store refused or is away; nothing was stored" => unavailable(),
        "The message may have been stored: only a retry with its Idempotency-Key is safe" => outcome_unknown(),
        "The server failed; the log says why" => internal(),
    }

    /// Of a conversation that a back end makes.
    CreateErrors(Platform) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("assistant_id", "Field 'assistant_id' is required."),
        "The Idempotency-Key is none" => Error::IdempotencyKeyMalformed,
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::MessagesWrite.as_str()),
        "There is no such assistant in this workspace" => assistant_not_found(),
        "The body is over 256 KiB" => too_large::<Platform>(),
        "The Idempotency-Key was used with another request" => Error::IdempotencyKeyReused,
        "The server is overloaded; see Retry-After" => overloaded(),
        "The store refused or is away; nothing was stored" => unavailable(),
        "It may have been made: only a retry with its Idempotency-Key is safe" => outcome_unknown(),
        "The server failed; the log says why" => internal(),
    }

    /// Of a conversation that a back end changes.
    UpdateErrors(Platform) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("ai_enabled", "Field 'ai_enabled' must be a boolean."),
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::MessagesWrite.as_str()),
        "There is no such conversation in this workspace" => conversation_not_found(),
        "The body is over 256 KiB" => too_large::<Platform>(),
        "The server is overloaded; see Retry-After" => overloaded(),
        "The store refused or is away; nothing was changed" => unavailable(),
        "It may have been changed" => outcome_unknown(),
        "The server failed; the log says why" => internal(),
    }

    /// Of a write that has no body.
    WriteErrors(Platform) {
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::MessagesWrite.as_str()),
        "The server is overloaded; see Retry-After" => overloaded(),
        "The store refused or is away; nothing was changed" => unavailable(),
        "It may have been changed" => outcome_unknown(),
        "The server failed; the log says why" => internal(),
    }

    /// Of whatever is read but money.
    ReadErrors(Platform) {
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::Read.as_str()),
        "The store is away" => unavailable(),
        "The server failed; the log says why" => internal(),
    }

    /// Of what is read of money.
    BillingErrors(Platform) {
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::BillingRead.as_str()),
        "The store is away" => unavailable(),
        "The server failed; the log says why" => internal(),
    }

    /// Of a query, beside those of what is read.
    QueryErrors(Platform) {
        "A field of the query is to be mended" => Error::invalid("limit", "Field 'limit' must be a number from 1 to 200."),
    }

    /// Of readers of the feed, beside those of what is read.
    FeedErrors(Platform) {
        "A field of the query is to be mended" => Error::invalid("types", "Field 'wait' must be a number of seconds from 0 to 60."),
        "There is no such conversation in this workspace" => conversation_not_found(),
        "Events after this cursor were removed" => Error::CursorExpired { resume: 1041 },
    }

    /// Of a request that begins after an event.
    EventsRemoved(Platform) {
        "Events after this cursor were removed" => Error::CursorExpired { resume: 1041 },
    }

    /// Of what only so many may do at once.
    TooManyReaders(Platform) {
        "Too many follow the events; see Retry-After" => Error::Overloaded {
            text: "Too many readers follow the events",
            retry_after: Duration::from_secs(5),
        },
    }

    /// Of a write of the workspace's configuration.
    ConfigErrors(Platform) {
        "The key is missing or does not hold" => Error::Unauthenticated,
        "The key lacks the scope" => Error::MissingScope(Scope::Config.as_str()),
        "The server is overloaded; see Retry-After" => overloaded(),
        "The store refused or is away; nothing was changed" => unavailable(),
        "It may have been changed" => outcome_unknown(),
        "The server failed; the log says why" => internal(),
    }

    /// Of a body that says how a webhook endpoint is to be, beside those of a write.
    EndpointErrors(Platform) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("url", "Field 'url' is required."),
        "The body is over 256 KiB" => too_large::<Platform>(),
        "This server cannot keep secrets" => Error::NotConfigured("This server cannot keep secrets: its operator has to set REJOINDER_SECRET_KEY."),
    }

    /// Of a body that says how a knowledge base is to be, beside those of a write.
    BaseErrors(Platform) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("slug", "Field 'slug' is required."),
        "The body is over 256 KiB" => too_large::<Platform>(),
    }

    /// Of a query to a knowledge base, beside those of what is read.
    SearchErrors(Platform) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("query", "Field 'query' is required."),
        "The body is over 256 KiB" => too_large::<Platform>(),
    }

    /// Of a document that comes as JSON, beside those of a write.
    DocumentErrors(TextUploadOptions) {
        "A field is to be mended, the document cannot be read, or the body is no JSON" => Error::invalid("title", "Field 'title' is required."),
        "The body is over 4 MiB" => too_large::<TextUploadOptions>(),
        "Too many documents are being read or written; see Retry-After" => too_many_documents(),
    }

    /// Of a document that comes as a file, beside those of a write.
    UploadErrors(UploadOptions) {
        "The file cannot be read, or is declared as nothing that can be" => Error::invalid("document", "The document has no text in it."),
        "The file is over 10 MiB" => too_large::<UploadOptions>(),
        "Too many documents are being read or written; see Retry-After" => too_many_documents(),
    }

    /// Of what the API may not make or change.
    ManagedByFile(Platform) {
        "Its slug is taken, or a workspace file set it up" => Error::Conflict("The document 'returns' is set up by a workspace file: change it there.".to_owned()),
    }

    /// Of a knowledge base in the path.
    KnowledgeBaseNotFound(Platform) {
        "There is no such knowledge base in this workspace" => Error::not_found(ResourceKind::KnowledgeBase, "kb_3h1m9x"),
    }

    /// Of a document in the path.
    DocumentNotFound(Platform) {
        "There is no such document in it" => Error::not_found(ResourceKind::Document, "doc_6pq0az"),
    }

    /// Of what is sent to an endpoint that takes nothing.
    EndpointDisabled(Platform) {
        "The endpoint is disabled" => Error::invalid("enabled", "The webhook endpoint is disabled."),
    }

    /// Of a test call, beside those of a write.
    CallErrors(Platform) {
        "A field is to be mended, or the body is no JSON" => Error::invalid("arguments", "Field 'arguments' must be an object."),
        "The body is over 256 KiB" => too_large::<Platform>(),
        "Too many tools are being tried; see Retry-After" => too_many_test_calls(),
    }

    /// Of a new list of tools, beside those of a write.
    RefreshErrors(Platform) {
        "The tool is of no server" => Error::invalid("id", "The tool 'orders' has no list: it is of no MCP server."),
        "The server cannot be asked, what it lists cannot be used, or the tool was changed meanwhile" => Error::Conflict("The MCP server of the tool 'crm' cannot be used: it cannot be listed: no connection. Please retry.".to_owned()),
        "Too many tools are being tried; see Retry-After" => too_many_test_calls(),
    }

    /// Of a tool in the path.
    ToolNotFound(Platform) {
        "There is no such tool in this workspace" => Error::not_found(ResourceKind::Tool, "tool_7fd02k"),
    }

    /// Of a webhook endpoint in the path.
    EndpointNotFound(Platform) {
        "There is no such webhook endpoint in this workspace" => Error::not_found(ResourceKind::WebhookEndpoint, "whe_5kq20d"),
    }

    /// Of a calendar in the path.
    CalendarNotFound(Platform) {
        "There is no such calendar in this workspace" => Error::not_found(ResourceKind::Calendar, "cal_2mf81s"),
    }

    /// Of a booking in the path.
    BookingNotFound(Platform) {
        "There is no such booking in it" => Error::not_found(ResourceKind::Booking, "bkg_6tz93v"),
    }

    /// Of a booking whose calendar is on a server.
    CalendarUnavailable(Platform) {
        "Its event could not be removed from the CalDAV server" => Error::Conflict("Nothing was cancelled: the calendar cannot be written at the moment.".to_owned()),
    }

    /// Of a delivery that is to be sent again.
    DeliveryInProgress(Platform) {
        "It is queued for its first attempt, or being sent" => Error::DeliveryUnderWay,
    }

    /// Of a delivery in the path.
    DeliveryNotFound(Platform) {
        "There is no such delivery of it" => Error::not_found(ResourceKind::Delivery, "dlv_8xw41p"),
    }

    /// Of a conversation in the path.
    ConversationNotFound(Platform) {
        "There is no such conversation in this workspace" => conversation_not_found(),
    }

    /// Of a message in the path.
    MessageNotFound(Platform) {
        "There is no such message in this workspace" => Error::not_found(ResourceKind::Message, "msg_45kd01"),
    }

    /// Of a turn in the path.
    TurnNotFound(Platform) {
        "There is no such turn in this workspace" => Error::not_found(ResourceKind::Turn, "trn_7hd83k"),
    }
}

fn conversation_not_found() -> Error {
    Error::not_found(ResourceKind::Conversation, "con_9s2kd81")
}

fn assistant_not_found() -> Error {
    Error::not_found(ResourceKind::Assistant, "ast_01k9z3x8f5e4r9t2m6q7w8y0ab")
}

fn too_many_documents() -> Error {
    Error::Overloaded { text: "Too many documents are being read", retry_after: Duration::from_secs(5) }
}

fn too_many_test_calls() -> Error {
    Error::Overloaded { text: "Too many tools are being tried", retry_after: Duration::from_secs(5) }
}

fn request_in_flight() -> Error {
    Error::IdempotencyKeyInFlight { retry_after: Duration::from_secs(1) }
}

fn limit_reached() -> Error {
    Error::LimitReached { retry_after: Duration::from_secs(3) }
}

fn overloaded() -> Error {
    Error::Overloaded { text: "The server is overloaded", retry_after: Duration::from_secs(1) }
}

fn unavailable() -> Error {
    Error::Unavailable { outcome_unknown: false, source: None }
}

fn internal() -> Error {
    Error::internal("an example")
}

fn outcome_unknown() -> Error {
    Error::Unavailable { outcome_unknown: true, source: None }
}

fn too_large<E: Envelope>() -> TransportError {
    TransportError::BodyTooLarge { limit: E::MAX_BODY }
}

fn by_status<E: Envelope>(errors: impl IntoIterator<Item = (&'static str, Problem)>) -> Responses {
    let mut causes: BTreeMap<StatusCode, Vec<(&'static str, Problem)>> = BTreeMap::new();
    for (summary, problem) in errors {
        causes.entry(problem.status::<E>()).or_default().push((summary, problem));
    }
    let entry = |(status, causes): (StatusCode, Vec<_>)| (status.as_str().to_owned(), response::<E>(&causes));
    causes.into_iter().map(entry).collect()
}

/// One status: what it means, with an example of each cause under its code.
fn response<E: Envelope>(causes: &[(&'static str, Problem)]) -> RefOr<Response> {
    let examples = causes.iter().map(|(summary, problem)| {
        let body: Value = serde_json::from_str(&E::body(problem)).unwrap_or_default();
        (problem.code(), ExampleBuilder::new().summary(*summary).value(Some(body)).build())
    });
    let meanings: Vec<&str> = causes.iter().map(|(summary, _)| *summary).collect();
    let content = ContentBuilder::new().examples_from_iter(examples).build();
    let code = HeaderBuilder::new().description(Some("A stable code of the error")).build();
    let response = ResponseBuilder::new()
        .description(meanings.join(". Or: "))
        .content("application/json", content)
        .header("Rejoinder-Error", code);
    RefOr::T(response.build())
}
