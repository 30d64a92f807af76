//! Erasures delete a conversation, or all conversations of a person, with all their content.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::list::{Cursor, InvalidQuery, PageParams, PageQuery};
use crate::domain::erasure::{Erasure, ErasureReason, ErasureState, Person};
use crate::domain::ids::{BookingId, CalendarId, ConversationId, ErasureId};
use crate::domain::render::Success;
use crate::domain::schema::words;
use crate::http::describe::{Errors, NotFound, Overloaded, Unavailable, WriteUnavailable};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Erase, Input, NoInput, PathParam, QueryParams};
use crate::http::fields::{Text, request};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::{erasures, resources};

/// Of an external identifier or the id of a sender, in characters.
const MAX_NAME: usize = 255;

type ErasuresCursor = Cursor<ErasureId, 'x'>;

/// An erasure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub(super) struct ErasureOut {
    #[schema(example = "era_4vq81n")]
    id: ErasureId,
    /// `running`, or `done` when nothing is left.
    #[schema(schema_with = states)]
    state: ErasureState,
    /// `request`, or `retention` of the workspace.
    #[schema(schema_with = reasons)]
    reason: ErasureReason,
    /// The conversation, if it is the erasure of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "con_9s2kd81")]
    conversation_id: Option<ConversationId>,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    removed: RemovedOut,
    /// The appointments that could not be removed from their CalDAV server: the first 100. Remove them there.
    remaining: Vec<RemainingOut>,
    /// The number of all such appointments.
    #[schema(minimum = 0, example = 0)]
    remaining_count: i64,
}

fn states() -> Object {
    words(ErasureState::ALL.iter().map(|state| state.as_str())).build()
}

fn reasons() -> Object {
    words(ErasureReason::ALL.iter().map(|reason| reason.as_str())).build()
}

/// What an erasure has removed so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErasureRemoved)]
pub(super) struct RemovedOut {
    #[schema(minimum = 0, example = 1)]
    conversations: i64,
    #[schema(minimum = 0, example = 12)]
    messages: i64,
    /// Events that have lost their `data`.
    #[schema(minimum = 0, example = 14)]
    events: i64,
    /// Bookings that have lost their title, name, e-mail address and notes.
    #[schema(minimum = 0, example = 1)]
    bookings: i64,
}

/// An appointment that is still on its CalDAV server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErasureRemaining)]
pub(super) struct RemainingOut {
    #[schema(example = "cal_2mf81s")]
    calendar_id: CalendarId,
    #[schema(example = "bkg_6tz93v")]
    booking_id: BookingId,
    /// The `UID` of the event on the server.
    #[schema(example = "call_1f0e8a")]
    event: String,
}

impl From<&Erasure> for ErasureOut {
    fn from(erasure: &Erasure) -> Self {
        let counts = erasure.counts;
        let remaining = erasure.remaining.iter().map(|appointment| RemainingOut {
            calendar_id: appointment.calendar_id,
            booking_id: appointment.booking_id,
            event: appointment.event.clone(),
        });
        Self {
            id: erasure.id,
            state: erasure.state(),
            reason: erasure.reason,
            conversation_id: erasure.conversation,
            created_at: erasure.created_at.to_string(),
            ended_at: erasure.ended_at.map(|at| at.to_string()),
            removed: RemovedOut {
                conversations: counts.conversations,
                messages: counts.messages,
                events: counts.events,
                bookings: counts.bookings,
            },
            remaining: remaining.collect(),
            remaining_count: erasure.remaining_count,
        }
    }
}

request! {
    /// A person, by exactly one of three names.
    pub(super) struct ErasureIn as NewErasure one_of(external_identifier, sender_id, identity) {
        /// The `external_identifier` of their conversations.
        external_identifier: Option<Text<MAX_NAME>> = "customer-4711",
        /// The `sender_id` of their messages, sent through this API with `"sender_type": "user"`.
        sender_id: Option<Text<MAX_NAME>>,
        /// The `identity` of their conversations: the `sub` of their identity tokens.
        identity: Option<Text<MAX_NAME>>,
    }
}

fn person(input: ErasureIn) -> Person {
    match (input.external_identifier, input.sender_id) {
        (Some(name), _) => Person::ExternalIdentifier(name),
        (None, Some(name)) => Person::Sender(name),
        // The body has exactly one of them.
        (None, None) => Person::Identity(input.identity.unwrap_or_default()),
    }
}

type AcceptErrors<S> = Errors<Platform, (Erase, Overloaded, WriteUnavailable, S)>;
type ReadErrors<S> = Errors<Platform, (Erase, Unavailable, S)>;

fn accepted(message: &'static str, erasure: &Erasure) -> Response {
    (StatusCode::ACCEPTED, Success::new(message, ErasureOut::from(erasure))).into_response()
}

/// Delete a conversation.
///
/// From now on it is unknown to both APIs. Its open turns are discarded and refunded, and within a minute its content is removed. The
/// response is the erasure; read it to see when it is done.
#[utoipa::path(
    delete, path = "/conversations/{id}", tag = "platform", operation_id = "deleteConversation",
    security(("bearer" = ["erase"])), params(("id" = inline(ConversationId), Path, description = "con_…")),
    responses((status = 202, description = "The erasure", body = Success<ErasureOut>), AcceptErrors<(NoInput, NotFound<ConversationId>)>),
)]
pub(super) async fn delete_conversation(
    State(state): State<AppState>,
    Erase(account, _): Erase,
    PathParam(name): PathParam,
    _: NoInput,
) -> Result<Response, ApiError<Platform>> {
    let erasure = erasures::erase_conversation(&state.services, &account, &name).await?;
    Ok(accepted("Conversation deleted successfully.", &erasure))
}

/// Erase a person.
///
/// All conversations that the person has at this time are deleted. A person without conversations is accepted, too.
#[utoipa::path(
    post, path = "/erasures", tag = "platform", operation_id = "createErasure",
    security(("bearer" = ["erase"])), request_body = ErasureIn,
    responses((status = 202, description = "The erasure", body = Success<ErasureOut>), AcceptErrors<Input<ErasureIn>>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Erase(account, _): Erase,
    input: Input<ErasureIn>,
) -> Result<Response, ApiError<Platform>> {
    let person = person(input.value);
    let erasure = erasures::erase_person(&state.services, &account, person).await?;
    Ok(accepted("Erasure accepted.", &erasure))
}

/// List erasures.
///
/// The oldest comes first. Erasures stay listed, without the names of persons.
#[utoipa::path(
    get, path = "/erasures", tag = "platform", operation_id = "listErasures",
    security(("bearer" = ["erase"])), params(PageParams::<ErasuresCursor>),
    responses((status = 200, description = "A page", body = Success<Page<ErasureOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Erase(account, _): Erase,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> super::Answer<Page<ErasureOut>> {
    let (erasures, next) = ErasuresCursor::read_page::<Erasure>(&state.services, &account, &query).await?;
    Ok(Success::new("Erasures retrieved successfully.", Page::new(&erasures, next)))
}

/// Read an erasure.
///
/// When its state is `done`, the content of its conversations is removed, except for the appointments on CalDAV servers that it lists.
#[utoipa::path(
    get, path = "/erasures/{id}", tag = "platform", operation_id = "readErasure",
    security(("bearer" = ["erase"])), params(("id" = inline(ErasureId), Path, description = "era_…")),
    responses((status = 200, description = "The erasure", body = Success<ErasureOut>), ReadErrors<NotFound<ErasureId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Erase(account, _): Erase,
    PathParam(name): PathParam,
) -> super::Answer<ErasureOut> {
    let erasure = resources::find::<Erasure>(&state.services, &account, &name).await?;
    Ok(Success::new("Erasure retrieved successfully.", ErasureOut::from(&erasure)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ignored_names::IgnoredNames;
    use crate::http::fields::read;

    #[test]
    fn a_person_has_exactly_one_name() {
        let person = |body: &str| {
            let input = read::<Platform, ErasureIn>(body.as_bytes(), &mut IgnoredNames::default());
            input.map(person)
        };

        let external = person(r#"{"external_identifier": "a"}"#);
        assert!(matches!(external, Ok(Person::ExternalIdentifier(name)) if name == "a"));
        assert!(matches!(person(r#"{"sender_id": "b"}"#), Ok(Person::Sender(name)) if name == "b"));
        assert!(matches!(person(r#"{"identity": "c"}"#), Ok(Person::Identity(name)) if name == "c"));
        for body in [
            "{}",
            r#"{"sender_id": null}"#,
            r#"{"external_identifier": "a", "sender_id": null}"#,
            r#"{"external_identifier": "a", "sender_id": "b"}"#,
            r#"{"identity": "a", "sender_id": "b"}"#,
        ] {
            let text = person(body).unwrap_err().to_string();
            assert_eq!(
                text,
                "Exactly one of the fields 'external_identifier', 'sender_id', 'identity' is required."
            );
        }
        assert!(person(r#"{"sender_id": " "}"#).is_err());
    }
}
