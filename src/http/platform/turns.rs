//! Turns and their traces: how a reply was produced, or the reason that there is none.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::list::{Cursor, InvalidQuery, conversation, limit, time_range};
use super::{Answer, ReadErrors};
use crate::domain::chat::{ModelErrorDetail, Usage};
use crate::domain::ids::{AssistantId, ConversationId, MessageId, TurnId};
use crate::domain::money::Money;
use crate::domain::render::{Success, raw};
use crate::domain::schema::TurnReason;
use crate::domain::trace::{Round, Span, Totals, Trace, TracedCall};
use crate::domain::turn::{Api, Turn, TurnFilter, TurnState};
use crate::http::describe::{NotFound, Overloaded};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{PathParam, QueryParams, Read};
use crate::http::fields::{Choice, check_choice};
use crate::http::response::{Page, millis};
use crate::http::state::AppState;
use crate::http::ui_message_stream::{self, FRAMES};
use crate::service::{follow_turn, list_turns, read_turn};

/// Read a turn.
///
/// It contains the trace so far: the model's rounds and their tool calls.
#[utoipa::path(
    get, path = "/turns/{id}", tag = "platform", operation_id = "readTurn",
    security(("bearer" = ["read"])), params(("id" = inline(TurnId), Path, description = "trn_…")),
    responses((status = 200, description = "The turn", body = Success<TracedTurnOut>), ReadErrors<NotFound<TurnId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Answer<TracedTurnOut> {
    let trace = read_turn::read(&state.services, &account, &name).await?;
    Ok(Success::new("Turn retrieved successfully.", TracedTurnOut::from(trace)))
}

/// Read a message's trace.
///
/// The trace is that of the turn that answers the message or, for a reply, that produced it.
#[utoipa::path(
    get, path = "/messages/{id}/trace", tag = "platform", operation_id = "readTrace",
    security(("bearer" = ["read"])), params(("id" = inline(MessageId), Path, description = "msg_…")),
    responses((status = 200, description = "The trace", body = Success<MessageTraceOut>), ReadErrors<NotFound<MessageId>>),
)]
pub(super) async fn read_of_message(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Answer<MessageTraceOut> {
    let trace = read_turn::read_of_message(&state.services, &account, &name).await?;
    Ok(Success::new("Trace retrieved successfully.", MessageTraceOut::from(trace)))
}

/// Follow a turn's reply.
///
/// It comes from its start, in the UI message stream of the AI SDK.
#[utoipa::path(
    get, path = "/turns/{id}/stream", tag = "platform", operation_id = "streamTurn",
    security(("bearer" = ["read"])), params(("id" = inline(TurnId), Path, description = "trn_…")),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "The reply as it is made, with a comment at least every 10 s",
            headers(("Rejoinder-Turn" = String, description = "The id of the turn")),
            example = json!(FRAMES),
        ),
        (status = 204, description = "The turn has ended"),
        ReadErrors<(NotFound<TurnId>, Overloaded)>,
    ),
)]
pub(super) async fn stream(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Result<Response, ApiError<Platform>> {
    let follower = follow_turn::resume(&state.services, &account, &name).await?;
    Ok(ui_message_stream::resume(follower, None))
}

/// The states of turns.
#[derive(Debug)]
pub(super) enum States {}

impl Choice for States {
    type Value = TurnState;

    fn words() -> Vec<&'static str> {
        TurnState::ALL.iter().map(|state| state.as_str()).collect()
    }
}

/// The APIs of turns.
#[derive(Debug)]
pub(super) enum Apis {}

impl Choice for Apis {
    type Value = Api;

    fn words() -> Vec<&'static str> {
        Api::ALL.iter().map(|api| api.as_str()).collect()
    }
}

type TurnCursor = Cursor<TurnId, 'n'>;

/// The query of the list of turns.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TurnsQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<TurnCursor>)]
    cursor: Option<String>,
    #[param(inline, value_type = Option<TurnState>)]
    state: Option<String>,
    /// Only turns of this conversation.
    #[param(inline, value_type = Option<ConversationId>)]
    conversation_id: Option<String>,
    /// The API that the message came through.
    #[param(inline, value_type = Option<Api>)]
    api: Option<String>,
    /// Only turns that were created at this time or later.
    #[param(format = DateTime, example = "2026-03-15T14:00:00Z")]
    created_after: Option<String>,
    /// Only turns that were created before this time.
    #[param(format = DateTime, example = "2026-03-16T14:00:00Z")]
    created_before: Option<String>,
}

/// List turns.
///
/// The newest comes first. A page of a filtered list may have few or no turns: only `next_cursor` says whether there are more.
#[utoipa::path(
    get, path = "/turns", tag = "platform", operation_id = "listTurns",
    security(("bearer" = ["read"])), params(TurnsQuery),
    responses((status = 200, description = "A page", body = Success<Page<TurnOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<TurnsQuery>,
) -> Answer<Page<TurnOut>> {
    let limit = limit(query.limit.as_deref())?;
    let filter = TurnFilter {
        state: check_choice::<States>("state", query.state.as_deref())?,
        api: check_choice::<Apis>("api", query.api.as_deref())?,
        conversation: conversation("conversation_id", query.conversation_id.as_deref())?,
        created: time_range([
            ("created_after", query.created_after.as_deref()),
            ("created_before", query.created_before.as_deref()),
        ])?,
        before: TurnCursor::decode(query.cursor.as_deref())?,
    };
    let page = list_turns::list(&state.services, &account, &filter, limit).await?;
    let turns = Page::new(page.items, page.next.map(TurnCursor::encode));
    Ok(Success::new("Turns retrieved successfully.", turns))
}

/// A turn: one reply that is being produced or was produced.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Turn)]
pub(super) struct TurnOut {
    id: TurnId,
    conversation_id: ConversationId,
    /// The message that it answers.
    message_id: MessageId,
    api: Api,
    state: TurnState,
    /// The reason of a failure or a discard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TurnReason>)]
    reason: Option<String>,
    /// The last failed call of a model, if any: `connection`, `model` and `url`, and what the endpoint said: `status`, `code`
    /// and `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ModelErrorDetail>)]
    model_error: Option<Box<RawValue>>,
    /// The reply, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_message_id: Option<MessageId>,
    assistant_id: AssistantId,
    assistant_version: i64,
    /// The amount charged; refunded if there is no reply.
    price: Money,
    /// Failed attempts after which another one was scheduled.
    #[schema(example = 0)]
    attempts: i64,
    /// Number of times that another process resumed it after its own had stopped.
    #[schema(example = 0)]
    takeovers: i64,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:13Z")]
    ended_at: Option<String>,
    /// The turn that runs it again, if it failed and was retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "trn_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    retry_turn_id: Option<TurnId>,
}

/// A turn with its trace so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TracedTurn)]
pub(super) struct TracedTurnOut {
    #[serde(flatten)]
    #[schema(inline)]
    turn: TurnOut,
    /// In order.
    rounds: Vec<RoundOut>,
    totals: TotalsOut,
    /// Present and true if the journal has more than 4 MiB: the last rounds or calls are missing, also in `totals`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    truncated: bool,
}

/// The trace of a message so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageTrace)]
pub(super) struct MessageTraceOut {
    /// Null if no reply was requested or possible.
    #[schema(required)]
    turn: Option<TurnOut>,
    /// In order.
    rounds: Vec<RoundOut>,
    totals: TotalsOut,
    /// Present and true if the journal has more than 4 MiB: the last rounds or calls are missing, also in `totals`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    truncated: bool,
}

/// A response of the model, and the tool calls that it requested.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TurnRound)]
pub(super) struct RoundOut {
    /// From 0.
    #[schema(example = 0)]
    number: i64,
    /// The turn's attempt, from 1.
    attempt: i64,
    #[schema(example = "default")]
    connection: String,
    #[schema(example = "gpt-5-mini")]
    model: String,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:12Z")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 840)]
    duration_ms: Option<u64>,
    #[serde(flatten)]
    #[schema(inline)]
    tokens: TokensOut,
    /// The model's text: the reply, or beside its calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "We are open from 9 to 17.")]
    text: Option<String>,
    /// The model's reasoning; at most 64 KiB of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<String>,
    /// Present and true if the text ends where the model reached its limit of tokens, or after 256 KiB.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    truncated: bool,
    /// In the model's order.
    calls: Vec<CallOut>,
}

/// Token counts; zero if the model's endpoint does not report them.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "flattened among other fields")]
pub(super) struct TokensOut {
    #[schema(example = 412)]
    input_tokens: i64,
    /// Input tokens that the provider had cached.
    #[schema(example = 0)]
    cached_tokens: i64,
    #[schema(example = 38)]
    output_tokens: i64,
    /// Output tokens that were spent on reasoning.
    #[schema(example = 0)]
    reasoning_tokens: i64,
}

/// A tool call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TurnCall)]
pub(super) struct CallOut {
    /// The same for every attempt; a webhook tool receives it as `Idempotency-Key`.
    #[schema(example = "call_trn_01k9z3x8f5e4r9t2m6q7w8y0ab_0_0")]
    id: String,
    #[schema(example = "check_calendar_availability")]
    name: String,
    #[schema(value_type = Object, example = json!({"start_date": "2025-01-13", "end_date": "2025-01-17"}))]
    arguments: Box<RawValue>,
    /// Absent until the call has finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"available_slots": ["2025-01-13 14:00"]}))]
    result: Option<Box<RawValue>>,
    /// The turn's attempt in which it was first sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
    /// Absent if it was never sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:12Z")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 12)]
    duration_ms: Option<u64>,
}

/// The totals of all rounds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TurnTotals)]
pub(super) struct TotalsOut {
    rounds: usize,
    calls: usize,
    #[serde(flatten)]
    #[schema(inline)]
    tokens: TokensOut,
    #[schema(example = 840)]
    model_ms: u64,
    /// The sum over all calls; the calls of one round run concurrently.
    #[schema(example = 12)]
    tool_ms: u64,
    /// The cost; zero if it was refunded.
    price: Money,
}

impl From<Turn> for TurnOut {
    fn from(turn: Turn) -> Self {
        Self {
            id: turn.id,
            conversation_id: turn.conversation,
            message_id: turn.message,
            api: turn.api,
            state: turn.state,
            reason: turn.reason,
            model_error: turn.model_error.as_deref().map(raw),
            reply_message_id: turn.reply,
            assistant_id: turn.assistant,
            assistant_version: turn.assistant_version,
            price: turn.price,
            attempts: turn.attempts,
            takeovers: turn.takeovers,
            created_at: turn.admitted_at.to_string(),
            started_at: turn.first_started_at.map(|at| at.to_string()),
            ended_at: turn.ended_at.map(|at| at.to_string()),
            retry_turn_id: turn.retried_by,
        }
    }
}

impl From<Trace> for TracedTurnOut {
    fn from(trace: Trace) -> Self {
        let totals = TotalsOut::new(&trace);
        let truncated = trace.is_truncated;
        Self { turn: trace.turn.into(), rounds: rounds(trace.rounds), totals, truncated }
    }
}

impl From<Option<Trace>> for MessageTraceOut {
    fn from(trace: Option<Trace>) -> Self {
        match trace {
            Some(trace) => {
                let TracedTurnOut { turn, rounds, totals, truncated } = trace.into();
                Self { turn: Some(turn), rounds, totals, truncated }
            }
            None => Self { turn: None, rounds: Vec::new(), totals: TotalsOut::zero(), truncated: false },
        }
    }
}

fn rounds(rounds: Vec<Round>) -> Vec<RoundOut> {
    rounds.into_iter().map(RoundOut::from).collect()
}

impl From<Round> for RoundOut {
    fn from(round: Round) -> Self {
        let (started_at, ended_at, duration_ms) = times(round.time);
        Self {
            number: round.step,
            attempt: round.attempt,
            connection: round.model_ref.connection,
            model: round.model_ref.model,
            started_at,
            ended_at,
            duration_ms,
            tokens: round.usage.into(),
            text: round.text,
            thoughts: round.thoughts,
            truncated: round.is_truncated,
            calls: round.calls.into_iter().map(CallOut::from).collect(),
        }
    }
}

impl From<Usage> for TokensOut {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input,
            cached_tokens: usage.cached,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
        }
    }
}

impl From<TracedCall> for CallOut {
    fn from(call: TracedCall) -> Self {
        let arguments = raw(&call.arguments);
        let Some(execution) = call.execution else {
            return Self {
                id: call.id,
                name: call.name,
                arguments,
                result: None,
                attempt: None,
                started_at: None,
                ended_at: None,
                duration_ms: None,
            };
        };
        let (started_at, ended_at, duration_ms) = times(execution.time);
        Self {
            id: call.id,
            name: call.name,
            arguments,
            result: execution.result.as_deref().map(raw),
            attempt: Some(execution.attempt),
            started_at: Some(started_at),
            ended_at,
            duration_ms,
        }
    }
}

impl TotalsOut {
    fn new(trace: &Trace) -> Self {
        let Totals { usage, model_time, tool_time } = trace.totals();
        let is_refunded = match trace.turn.state {
            TurnState::Failed | TurnState::Discarded => true,
            TurnState::Waiting | TurnState::Queued | TurnState::Running | TurnState::Completed => false,
        };
        Self {
            rounds: trace.rounds.len(),
            calls: trace.rounds.iter().map(|round| round.calls.len()).sum(),
            tokens: usage.into(),
            model_ms: millis(model_time),
            tool_ms: millis(tool_time),
            price: if is_refunded { Money(0) } else { trace.turn.price },
        }
    }

    fn zero() -> Self {
        let tokens = Usage::default().into();
        Self { rounds: 0, calls: 0, tokens, model_ms: 0, tool_ms: 0, price: Money(0) }
    }
}

fn times(time: Span) -> (String, Option<String>, Option<u64>) {
    let ended_at = time.ended_at.map(|at| at.to_string());
    (time.started_at.to_string(), ended_at, time.duration().map(millis))
}
