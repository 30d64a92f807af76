//! Webhook endpoints and their deliveries, as they travel.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::delivery::{AttemptOutcome, DeliveryState};
use crate::domain::delivery_log::{AttemptLogEntry, DeliveryDetails, DeliveryLogEntry};
use crate::domain::event::EventType;
use crate::domain::ids::{DeliveryId, EndpointId, EventId};
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint};
use crate::http::fields::Field;
use crate::service::webhook_endpoints::EndpointAndSecret;

/// A webhook endpoint to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WebhookEndpointIn)]
pub(in crate::http) struct EndpointIn {
    /// `http` or `https`, a public host, no user name or password.
    #[schema(value_type = String, required, max_length = 2048, example = "https://crm.example/hooks")]
    pub(super) url: Field,
    /// The types of events that it takes. Empty or absent: all.
    #[schema(value_type = Vec<String>, required = false, example = json!(["message.created"]))]
    pub(super) types: Field,
    #[schema(value_type = String, required = false, max_length = 255)]
    pub(super) description: Field,
    /// `whsec_` and 24 to 64 bytes in base64. Absent: one is made.
    #[schema(value_type = String, required = false)]
    pub(super) secret: Field,
}

/// What is to change in a webhook endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WebhookEndpointChange)]
pub(in crate::http) struct EndpointUpdateIn {
    #[schema(value_type = String, required = false, max_length = 2048)]
    pub(super) url: Field,
    /// In place of those that it took. Empty: all.
    #[schema(value_type = Vec<String>, required = false)]
    pub(super) types: Field,
    /// Empty: none.
    #[schema(value_type = String, required = false, max_length = 255)]
    pub(super) description: Field,
    /// `true`, where it was disabled: its failures are forgotten, and what waited is sent.
    #[schema(value_type = bool, required = false)]
    pub(super) enabled: Field,
}

/// How a secret is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SecretRotation)]
pub(in crate::http) struct RotationIn {
    /// For how long the old secret signs too, or within an overlap the one from before it: 0 to 604800,
    /// 86400 without it.
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 604_800, example = 86_400)]
    pub(super) overlap_seconds: Field,
    /// `whsec_…`. Absent: one is made.
    #[schema(value_type = String, required = false)]
    pub(super) secret: Field,
}

/// Which events are sent again: those since a time, or after a cursor.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WebhookReplay)]
pub(in crate::http) struct ReplayIn {
    /// The `cursor` or the `id` of an event: only later ones.
    #[schema(value_type = String, required = false, example = "4711")]
    pub(super) after: Field,
    /// A time (RFC 3339): events since then.
    #[schema(value_type = String, required = false, example = "2026-03-15T14:00:00Z")]
    pub(super) since: Field,
    /// Only these types. Absent: those that the endpoint takes.
    #[schema(value_type = Vec<String>, required = false)]
    pub(super) types: Field,
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeliveriesQuery {
    /// Items of a page; 1 to 200, 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<String>,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// `queued`, `running`, `delivered`, `failed` or `closed`.
    pub(super) state: Option<String>,
}

/// A webhook endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EndpointOut {
    #[schema(value_type = String, example = "whe_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: EndpointId,
    /// Its name in the workspace file, where that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[schema(example = "https://crm.example/hooks")]
    url: String,
    /// Empty: all.
    #[schema(value_type = Vec<String>, example = json!(["message.created"]))]
    types: Vec<EventType>,
    enabled: bool,
    /// `gone` (it answered 410), `failing` (for five days), `api` or `file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    disabled_reason: Option<DisabledReason>,
    /// The first failure since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    /// Until when an older secret signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<Endpoint> for EndpointOut {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            slug: endpoint.slug,
            description: endpoint.description,
            url: endpoint.url,
            types: endpoint.types,
            enabled: endpoint.enabled,
            disabled_reason: endpoint.disabled_reason,
            failing_since: endpoint.failing_since.map(|at| at.to_string()),
            previous_secret_until: endpoint.previous.map(|previous| previous.until.to_string()),
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
        }
    }
}

/// A webhook endpoint with its new secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EndpointWithSecretOut {
    #[serde(flatten)]
    #[schema(inline)]
    endpoint: EndpointOut,
    /// For the receiver, to verify what it is sent.
    #[schema(example = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")]
    secret: String,
}

impl From<EndpointAndSecret> for EndpointWithSecretOut {
    fn from(with: EndpointAndSecret) -> Self {
        Self { endpoint: with.endpoint.into(), secret: with.secret.expose_secret().to_owned() }
    }
}

/// An event on its way to a webhook endpoint, or there.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DeliveryOut {
    #[schema(value_type = String, example = "dlv_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: DeliveryId,
    /// The `webhook-id` that it is sent with.
    #[schema(value_type = String, example = "evt_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    event_id: EventId,
    #[schema(value_type = String, example = "message.created")]
    event_type: EventType,
    /// `queued`, `running`, `delivered`, `failed` or `closed`.
    #[schema(value_type = String, example = "delivered")]
    state: DeliveryState,
    /// Whether it is sent again by request.
    replay: bool,
    attempt_count: i64,
    /// While it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    /// When it was queued, the last time.
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// One try at a delivery.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct AttemptOut {
    number: i64,
    started_at: String,
    latency_ms: u64,
    /// `delivered`, or what was wrong: `redirected`, `gone`, `refused`, `timed_out`, `unreachable`,
    /// `broken`, `blocked`, `unsigned`.
    #[schema(value_type = String, example = "delivered")]
    outcome: AttemptOutcome,
    /// What the endpoint answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// How its answer's body begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    excerpt: Option<String>,
}

impl From<AttemptLogEntry> for AttemptOut {
    fn from(AttemptLogEntry { number, attempt }: AttemptLogEntry) -> Self {
        let latency = attempt.finished_at.since(attempt.started_at);
        Self {
            number,
            started_at: attempt.started_at.to_string(),
            latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
            outcome: attempt.outcome,
            status: attempt.status,
            excerpt: attempt.excerpt,
        }
    }
}

/// A delivery with its tries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToldDeliveryOut)]
pub(in crate::http) struct DeliveryDetailsOut {
    #[serde(flatten)]
    #[schema(inline)]
    delivery: DeliveryOut,
    /// The last hundred, in order.
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

/// How many deliveries are sent again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayedOut)]
pub(in crate::http) struct ReplayOut {
    /// Without those that are under way already.
    pub(super) deliveries: u64,
    /// For `after` of the next request, where more follow than one request takes; else null.
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}
