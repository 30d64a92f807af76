//! One attempt at a webhook delivery: signs the event, sends it to its endpoint, and interprets the answer. Every attempt
//! sends the stored bytes of the event.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::trace::SpanKind;
use secrecy::ExposeSecret as _;
use url::Url;

use super::workspace_hosts;
use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{
    self, Attempt, AttemptOutcome, ClaimedDelivery, DeliveryKey, Disposition, EventPayload, MAX_EXCERPT,
};
use crate::domain::ids::{EndpointId, EventId, IdGenerator, WorkspaceId};
use crate::domain::retry::retry_after;
use crate::domain::seal::{SealKeys, SecretContext};
use crate::domain::signature::{self, SigningSecret};
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint};
use crate::outbound::{AllowHosts, GuardedClient, OutboundError, OutboundRequest, OutboundResponse};
use crate::store::{Conn, Db, StoreError, Tenant, deliveries, webhook_endpoints, workspaces};
use crate::telemetry::DELIVERY_ATTEMPT_DURATION_SECONDS;
use crate::telemetry::traces::{Span, SpanDescription};
use crate::writer::DisableEndpoint;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Set on deliveries that were resent on request.
const WEBHOOK_REPLAY: HeaderName = HeaderName::from_static("webhook-replay");

/// Sends events to webhook endpoints.
#[derive(Clone, Debug)]
pub struct WebhookSender {
    pub outbound: GuardedClient,
    /// Open sealed secrets; `None` if none is configured.
    pub seal_keys: Option<Arc<SealKeys>>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    /// `webhooks.timeout`.
    pub timeout: Duration,
}

/// An endpoint as it was when its deliveries were claimed.
#[derive(Debug)]
pub struct WebhookDestination {
    endpoint: Endpoint,
    /// By the database clock.
    read_at: Micros,
    /// `None` if they cannot be opened.
    secrets: Option<Vec<SigningSecret>>,
    /// `None` if the stored list cannot be parsed: then nothing is sent.
    allow_hosts: Option<AllowHosts>,
}

/// A delivery that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Job {
    pub claimed: ClaimedDelivery,
    destination: Arc<WebhookDestination>,
    event: EventId,
    body: Bytes,
}

/// Claimed deliveries, by what must be done with them.
#[derive(Debug, Default)]
pub struct LoadedDeliveries {
    pub jobs: Vec<Job>,
    /// There is nothing to send: the event, its conversation or the endpoint no longer exists.
    pub closed: Vec<ClaimedDelivery>,
    /// The endpoint has been disabled or archived since the claim.
    pub waiting: Vec<ClaimedDelivery>,
}

/// The relevant parts of an answer.
struct EndpointResponse {
    outcome: AttemptOutcome,
    status: Option<u16>,
    excerpt: Option<String>,
    requested_delay: Option<Duration>,
}

impl EndpointResponse {
    fn without_answer(outcome: AttemptOutcome) -> Self {
        Self { outcome, status: None, excerpt: None, requested_delay: None }
    }
}

impl WebhookSender {
    /// Reads the events and endpoints of claimed deliveries; `now` is the time of the database clock.
    pub async fn load(
        &self,
        db: &Db,
        claimed: Vec<ClaimedDelivery>,
        now: Micros,
    ) -> Result<LoadedDeliveries, StoreError> {
        let keys: Vec<DeliveryKey> = claimed.iter().map(|claimed| claimed.key).collect();
        let read = async |conn: Conn<'_>| self.read(conn, &keys, now).await;
        let (events, destinations) = db.read(Tenant::Process, read).await?;
        let mut loaded = LoadedDeliveries::default();
        for claimed in claimed {
            let key = claimed.key;
            let event = events.get(&(key.workspace, key.cursor)).filter(|event| !event.is_withheld);
            match (event, destinations.get(&(key.workspace, key.endpoint))) {
                (_, Some(destination)) if !destination.endpoint.is_active() => loaded.waiting.push(claimed),
                (Some(event), Some(destination)) => loaded.jobs.push(Job {
                    claimed,
                    destination: Arc::clone(destination),
                    event: event.id,
                    body: Bytes::copy_from_slice(event.body.as_bytes()),
                }),
                (None, _) | (_, None) => loaded.closed.push(claimed),
            }
        }
        Ok(loaded)
    }

    async fn read(
        &self,
        mut conn: Conn<'_>,
        keys: &[DeliveryKey],
        now: Micros,
    ) -> Result<
        (
            HashMap<(WorkspaceId, i64), EventPayload>,
            HashMap<(WorkspaceId, EndpointId), Arc<WebhookDestination>>,
        ),
        StoreError,
    > {
        let endpoint_keys: BTreeSet<_> = keys.iter().map(|key| (key.workspace, key.endpoint)).collect();
        let endpoint_keys: Vec<_> = endpoint_keys.into_iter().collect();
        let workspace_ids: BTreeSet<_> = keys.iter().map(|key| key.workspace).collect();
        let events = deliveries::claims::list_events(conn.reborrow(), keys).await?;
        let endpoints = webhook_endpoints::find_many(conn.reborrow(), &endpoint_keys).await?;
        let settings = workspaces::settings(conn, &workspace_ids).await?;
        let allow_hosts = |id| {
            let Some(workspace) = settings.iter().find(|settings| settings.id == id) else {
                return Some(AllowHosts::default());
            };
            let parsed = workspace_hosts::parse(workspace).inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::error!(workspace.id = %id, error, "the allow_hosts of a workspace cannot be parsed");
            });
            parsed.ok()
        };
        let destination = |endpoint: Endpoint| {
            let endpoint_key = (endpoint.workspace, endpoint.id);
            let secrets = self.open_secrets(&endpoint, now);
            let allow_hosts = allow_hosts(endpoint.workspace);
            (endpoint_key, Arc::new(WebhookDestination { endpoint, read_at: now, secrets, allow_hosts }))
        };
        let events = events.into_iter().map(|event| ((event.workspace, event.cursor), event)).collect();
        Ok((events, endpoints.into_iter().map(destination).collect()))
    }

    fn open_secrets(&self, endpoint: &Endpoint, now: Micros) -> Option<Vec<SigningSecret>> {
        let Some(keys) = self.seal_keys.as_deref() else {
            tracing::error!(endpoint.id = %endpoint.id, "an endpoint has a secret, and REJOINDER_SECRET_KEY is not set");
            return None;
        };
        let context = SecretContext::of_endpoint(endpoint.workspace, endpoint.id);
        let open = |sealed| {
            let text = keys.open(&context, sealed).inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::error!(endpoint.id = %endpoint.id, error, "an endpoint's secret cannot be opened");
            });
            SigningSecret::parse(text.ok()?.expose_secret()).ok()
        };
        endpoint.secrets(now).into_iter().map(open).collect()
    }

    /// Sends a delivery once, and decides what happens to it next.
    pub async fn attempt(&self, job: &Job) -> (Attempt, Disposition) {
        let started_at = self.clock.now();
        let WebhookDestination { secrets, allow_hosts, .. } = job.destination.as_ref();
        let span = start_span(job);
        let response = match (secrets, allow_hosts) {
            (Some(secrets), Some(allow_hosts)) => {
                span.run(self.send(job, secrets, allow_hosts, started_at)).await
            }
            (None, _) => EndpointResponse::without_answer(AttemptOutcome::Unsigned),
            (Some(_), None) => EndpointResponse::without_answer(AttemptOutcome::Blocked),
        };
        let EndpointResponse { outcome, status, excerpt, requested_delay } = response;
        if let Some(status) = status {
            span.set("http.response.status_code", i64::from(status));
        }
        if outcome != AttemptOutcome::Delivered {
            span.fail(outcome.as_str());
        }
        drop(span);
        let finished_at = self.clock.now();
        let seconds = finished_at.since(started_at).as_secs_f64();
        metrics::histogram!(DELIVERY_ATTEMPT_DURATION_SECONDS, "outcome" => outcome.as_str()).record(seconds);
        let in_round = job.claimed.attempts - job.claimed.attempts_before + 1;
        let random = u32::from_le_bytes(self.ids.bytes());
        let disposition = delivery::disposition(outcome, in_round, requested_delay, random);
        (Attempt { started_at, finished_at, outcome, status, excerpt }, disposition)
    }

    async fn send(
        &self,
        job: &Job,
        secrets: &[SigningSecret],
        allow_hosts: &AllowHosts,
        now: Micros,
    ) -> EndpointResponse {
        let request = OutboundRequest {
            method: Method::POST,
            url: job.destination.endpoint.url.clone(),
            headers: headers(job, secrets, now),
            body: Some(job.body.clone()),
            timeout: self.timeout,
            max_response: MAX_EXCERPT,
        };
        match self.outbound.send_for_status(request, allow_hosts).await {
            Ok(response) => EndpointResponse {
                outcome: AttemptOutcome::from_status(response.status),
                status: Some(response.status),
                excerpt: delivery::excerpt(&response.body),
                requested_delay: requested_delay(&response),
            },
            Err(error) => {
                tracing::info!(
                    delivery.id = %job.claimed.id,
                    endpoint.id = %job.claimed.key.endpoint,
                    error = &error as &dyn std::error::Error,
                    "a webhook endpoint did not answer"
                );
                EndpointResponse::without_answer(outcome_of(&error))
            }
        }
    }
}

/// The command that disables the endpoint, if this attempt calls for it. An endpoint that keeps failing is disabled only
/// when a delivery has failed, so that a rarely used endpoint is not judged by one attempt after a long silence.
#[must_use]
pub fn disable_command(job: &Job, attempt: &Attempt, disposition: Disposition) -> Option<DisableEndpoint> {
    let WebhookDestination { endpoint, read_at, .. } = job.destination.as_ref();
    let reason = match attempt.outcome {
        AttemptOutcome::Delivered => None,
        AttemptOutcome::Gone => Some(DisabledReason::Gone),
        AttemptOutcome::Redirected
        | AttemptOutcome::Refused
        | AttemptOutcome::TimedOut
        | AttemptOutcome::Unreachable
        | AttemptOutcome::Broken
        | AttemptOutcome::Blocked
        | AttemptOutcome::Unsigned => {
            let must_disable = disposition == Disposition::Failed && endpoint.should_disable(*read_at);
            must_disable.then_some(DisabledReason::Failing)
        }
    };
    reason.map(|reason| DisableEndpoint {
        workspace: endpoint.workspace,
        endpoint: endpoint.id,
        reason,
        url: endpoint.url.clone(),
    })
}

/// The span of an attempt. The path of the URL may contain a secret.
fn start_span(job: &Job) -> Span {
    Span::start(SpanKind::Client, || {
        let url = &job.destination.endpoint.url;
        let description = SpanDescription::new("deliver_webhook")
            .with("http.request.method", "POST")
            .with("rejoinder.workspace.id", job.claimed.key.workspace.0.to_string())
            .with("rejoinder.endpoint.id", job.claimed.key.endpoint.to_string())
            .with("rejoinder.delivery.id", job.claimed.id.to_string())
            .with("rejoinder.event.id", job.event.to_string())
            .with("rejoinder.delivery.attempt", job.claimed.attempts + 1);
        let Ok(url) = url.parse::<Url>() else { return description };
        let description = description.with("server.address", url.host_str().unwrap_or_default().to_owned());
        description.with("server.port", i64::from(url.port_or_known_default().unwrap_or_default()))
    })
}

fn headers(job: &Job, secrets: &[SigningSecret], now: Micros) -> HeaderMap {
    let id = job.event.to_string();
    let timestamp = now.0.div_euclid(1_000_000);
    let signature = signature::sign(&id, timestamp, &job.body, secrets);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    // Ids and signatures are plain ASCII.
    for (name, value) in [(WEBHOOK_ID, id), (WEBHOOK_SIGNATURE, signature)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if job.claimed.replay {
        headers.insert(WEBHOOK_REPLAY, HeaderValue::from_static("true"));
    }
    headers
}

fn requested_delay(response: &OutboundResponse) -> Option<Duration> {
    let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
    retry_after(text(RETRY_AFTER)?, text(DATE))
}

fn outcome_of(error: &OutboundError) -> AttemptOutcome {
    match error {
        OutboundError::Refused(_) => AttemptOutcome::Blocked,
        OutboundError::Timeout => AttemptOutcome::TimedOut,
        OutboundError::Connect(_) => AttemptOutcome::Unreachable,
        OutboundError::TooLarge { status } => AttemptOutcome::from_status(*status),
        OutboundError::Broken(_) | OutboundError::Setup(_) => AttemptOutcome::Broken,
    }
}
