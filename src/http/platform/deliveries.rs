//! The deliveries of a webhook endpoint: listed, read, tested, resent and replayed.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, ToSchema};

use super::list::{Cursor, InvalidQuery, limit};
use super::webhook_endpoints::{EndpointDisabled, EventTypes, SecretsNotConfigured};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::delivery::{AttemptOutcome, DeliveryState};
use crate::domain::delivery_log::{AttemptLogEntry, DeliveryDetails, DeliveryLogEntry};
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::ids::{DeliveryId, EndpointId, EventId, id_pattern};
use crate::domain::render::Success;
use crate::domain::schema::{EVENT_CURSOR, pattern};
use crate::http::describe::{EventsRemoved, NotFound, error_sets};
use crate::http::extract::{ConfigWrite, Input, NestedPathParams, NoInput, PathParam, QueryParams, Read};
use crate::http::fields::{AnyText, Choice, FieldType, Time, Violation, check_choice, request};
use crate::http::response::{Page, millis};
use crate::http::state::AppState;
use crate::service::read_events::StartPosition;
use crate::service::webhook_endpoints::deliveries::{self, DeliveryQuery, ReplayFrom, ReplayRequest};

type DeliveryCursor = Cursor<i64, 'd'>;

/// The states of deliveries.
enum States {}

impl Choice for States {
    type Value = DeliveryState;

    fn words() -> Vec<&'static str> {
        vec!["queued", "running", "delivered", "failed", "closed"]
    }
}

/// A position in the event feed: a cursor or the id of an event.
#[derive(Debug)]
pub(super) enum EventPosition {}

impl FieldType for EventPosition {
    type Value = StartPosition;

    fn check(raw: &RawValue) -> Result<Option<StartPosition>, Violation> {
        let Some(text) = AnyText::check(raw)? else { return Ok(None) };
        let cursor = text.parse().ok().map(StartPosition::Cursor);
        let position = cursor.or_else(|| text.parse().ok().map(StartPosition::Event));
        position.map(Some).ok_or_else(|| Violation::rule("must be the cursor or the id of an event"))
    }

    fn schema() -> Schema {
        pattern(format!("^({EVENT_CURSOR}|{})$", id_pattern!("evt"))).into()
    }
}

request! {
    /// A replay of the events since a time or after a cursor.
    pub(super) struct ReplayIn as WebhookReplay one_of(after, since) {
        /// The `cursor` or the `id` of an event: only later events are sent.
        after: Option<EventPosition> = "1042",
        /// A time (RFC 3339): only events since then are sent.
        since: Option<Time> = "2026-03-15T14:00:00Z",
        /// Only events of these types; the types of the endpoint by default.
        types: Option<EventTypes>,
    }
}

fn replay_request(input: ReplayIn) -> ReplayRequest {
    let from = match (input.after, input.since) {
        (Some(position), _) => ReplayFrom::After(position),
        (None, Some(time)) => ReplayFrom::Since(time),
        // The body has one of them.
        (None, None) => ReplayFrom::After(StartPosition::Oldest),
    };
    ReplayRequest { from, types: input.types }
}

error_sets! {
    /// A delivery in progress cannot be resent.
    DeliveryUnderWay {
        "The delivery is queued for its first attempt, or in progress" => Error::DeliveryUnderWay,
    }
}

/// The query of the list of deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<DeliveryCursor>)]
    cursor: Option<String>,
    #[param(inline, value_type = Option<DeliveryState>)]
    state: Option<String>,
}

/// The delivery of an event to a webhook endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryOut {
    id: DeliveryId,
    /// The `webhook-id` header of its requests.
    event_id: EventId,
    event_type: EventType,
    state: DeliveryState,
    /// Whether it was resent on request.
    #[schema(example = false)]
    replay: bool,
    attempt_count: i64,
    /// Only present while it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    next_attempt_at: Option<String>,
    /// The time at which it was last queued.
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:12Z")]
    ended_at: Option<String>,
}

impl From<DeliveryLogEntry> for DeliveryOut {
    fn from(logged: DeliveryLogEntry) -> Self {
        let next = (logged.state == DeliveryState::Queued).then(|| logged.not_before.to_string());
        Self {
            id: logged.id,
            event_id: logged.event,
            event_type: logged.kind,
            state: logged.state,
            replay: logged.replay,
            attempt_count: logged.attempts,
            next_attempt_at: next,
            created_at: logged.created_at.to_string(),
            ended_at: logged.ended_at.map(|at| at.to_string()),
        }
    }
}

/// An attempt of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
pub(super) struct AttemptOut {
    number: i64,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    started_at: String,
    #[schema(example = 120)]
    latency_ms: u64,
    /// `delivered`, or the cause of the failure: `redirected`, `gone`, `refused`, `timed_out`, `unreachable`,
    /// `broken`, `blocked`, `unsigned`.
    outcome: AttemptOutcome,
    /// The status code of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 200)]
    status: Option<u16>,
    /// The beginning of the response's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    excerpt: Option<String>,
}

impl From<AttemptLogEntry> for AttemptOut {
    fn from(AttemptLogEntry { number, attempt }: AttemptLogEntry) -> Self {
        let latency = attempt.finished_at.since(attempt.started_at);
        Self {
            number,
            started_at: attempt.started_at.to_string(),
            latency_ms: millis(latency),
            outcome: attempt.outcome,
            status: attempt.status,
            excerpt: attempt.excerpt,
        }
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryDetails)]
pub(super) struct DeliveryDetailsOut {
    #[serde(flatten)]
    #[schema(inline)]
    delivery: DeliveryOut,
    /// The last hundred attempts, in order.
    attempts: Vec<AttemptOut>,
}

impl From<DeliveryDetails> for DeliveryDetailsOut {
    fn from(details: DeliveryDetails) -> Self {
        Self {
            delivery: details.delivery.into(),
            attempts: details.attempts.into_iter().map(AttemptOut::from).collect(),
        }
    }
}

/// The result of a replay.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookReplayResult)]
pub(super) struct ReplayOut {
    /// The number of deliveries, without those already in progress.
    deliveries: u64,
    /// The value of `after` for the next request; null if nothing more follows.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Send a test event.
///
/// It is sent to the webhook endpoint regardless of its event types.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/test", tag = "platform", operation_id = "testWebhookEndpoint",
    security(("bearer" = ["config"])), params(("id" = inline(EndpointId), Path, description = "whe_…")),
    responses((status = 200, description = "The test's delivery", body = Success<DeliveryDetailsOut>), ConfigErrors<(NoInput, EndpointDisabled, NotFound<EndpointId>)>),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<DeliveryDetailsOut> {
    let details = deliveries::test(&state.services, &account, &name).await?;
    Ok(Success::new("Test event queued successfully.", details.into()))
}

/// List deliveries.
///
/// Returns the deliveries of a webhook endpoint, the newest event first.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}/deliveries", tag = "platform", operation_id = "listDeliveries",
    security(("bearer" = ["read"])), params(("id" = inline(EndpointId), Path, description = "whe_…"), DeliveriesQuery),
    responses((status = 200, description = "A page", body = Success<Page<DeliveryOut>>), ReadErrors<(InvalidQuery, NotFound<EndpointId>)>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<DeliveriesQuery>,
) -> Answer<Page<DeliveryOut>> {
    let limit = limit(query.limit.as_deref())?;
    let before = DeliveryCursor::decode(query.cursor.as_deref())?.unwrap_or(i64::MAX);
    let state_filter = check_choice::<States>("state", query.state.as_deref())?;
    let filter = DeliveryQuery { state: state_filter, before };
    let page = deliveries::list(&state.services, &account, &name, filter, limit).await?;
    let page = Page::new(page.items, page.next.map(DeliveryCursor::encode));
    Ok(Success::new("Deliveries retrieved successfully.", page))
}

/// Read a delivery.
///
/// The response has its attempts.
#[utoipa::path(
    get, path = "/webhook_endpoints/{id}/deliveries/{delivery_id}", tag = "platform",
    operation_id = "readDelivery", security(("bearer" = ["read"])),
    params(("id" = inline(EndpointId), Path, description = "whe_…"), ("delivery_id" = inline(DeliveryId), Path, description = "dlv_…")),
    responses((status = 200, description = "The delivery", body = Success<DeliveryDetailsOut>), ReadErrors<(NotFound<EndpointId>, NotFound<DeliveryId>)>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    NestedPathParams(endpoint, name): NestedPathParams,
) -> Answer<DeliveryDetailsOut> {
    let details = deliveries::read(&state.services, &account, &endpoint, &name).await?;
    Ok(Success::new("Delivery retrieved successfully.", details.into()))
}

/// Resend a delivery.
///
/// It has the same `webhook-id` and body, and `webhook-replay: true`. A delivery in progress is refused.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/deliveries/{delivery_id}/resend", tag = "platform",
    operation_id = "resendDelivery", security(("bearer" = ["config"])),
    params(("id" = inline(EndpointId), Path, description = "whe_…"), ("delivery_id" = inline(DeliveryId), Path, description = "dlv_…")),
    responses((status = 200, description = "The delivery after the change", body = Success<DeliveryDetailsOut>), ConfigErrors<(NoInput, EndpointDisabled, DeliveryUnderWay, NotFound<EndpointId>, NotFound<DeliveryId>)>),
)]
pub(super) async fn resend(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    NestedPathParams(endpoint, name): NestedPathParams,
    _: NoInput,
) -> Answer<DeliveryDetailsOut> {
    let details = deliveries::resend(&state.services, &account, &endpoint, &name).await?;
    Ok(Success::new("Delivery queued again successfully.", details.into()))
}

/// Replay events.
///
/// Sends the stored events since a time or after a cursor to a webhook endpoint: at most 10,000 for each request.
#[utoipa::path(
    post, path = "/webhook_endpoints/{id}/replay", tag = "platform", operation_id = "replayEvents",
    security(("bearer" = ["config"])), params(("id" = inline(EndpointId), Path, description = "whe_…")), request_body = ReplayIn,
    responses((status = 200, description = "The number of deliveries", body = Success<ReplayOut>), ConfigErrors<(Input<ReplayIn>, SecretsNotConfigured, EndpointDisabled, EventsRemoved, NotFound<EndpointId>)>),
)]
pub(super) async fn replay(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    Input { value: input, .. }: Input<ReplayIn>,
) -> Answer<ReplayOut> {
    let replayed = deliveries::replay(&state.services, &account, &name, replay_request(input)).await?;
    let next_cursor = replayed.next.map(|cursor| cursor.to_string());
    let data = ReplayOut { deliveries: replayed.deliveries, next_cursor };
    Ok(Success::new("Events queued again successfully.", data))
}
