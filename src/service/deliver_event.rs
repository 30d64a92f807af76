//! One attempt at a webhook delivery: signs the event, sends it to its endpoint, and
//! says what the answer means. The event's bytes are those that were stored, each time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret as _;

use crate::domain::batch::Disabling;
use crate::domain::clock::{Clock, Micros};
use crate::domain::delivery::{
    self, Attempt, AttemptOutcome, Claimed, DeliveryKey, MAX_EXCERPT, Next, SentEvent,
};
use crate::domain::ids::{EndpointId, EventId, Ids, WorkspaceId};
use crate::domain::retry::retry_after;
use crate::domain::seal::SealKey;
use crate::domain::signature::{self, Secret};
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint};
use crate::outbound::{AllowHosts, GuardedClient, OutboundError, OutboundRequest, OutboundResponse};
use crate::store::{Conn, Db, StoreError, delivery_claims, webhook_endpoints, workspaces};
use crate::telemetry::DELIVERY_ATTEMPT_SECONDS;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// On what is sent again by request.
const WEBHOOK_REPLAY: HeaderName = HeaderName::from_static("webhook-replay");

/// Sends events to webhook endpoints.
#[derive(Clone, Debug)]
pub struct Sender {
    pub outbound: GuardedClient,
    /// Where secrets are opened with it.
    pub seal_key: Option<Arc<SealKey>>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<Ids>,
    /// `webhooks.timeout`.
    pub timeout: Duration,
}

/// Where events go, as it was when they were claimed.
#[derive(Debug)]
pub struct Receiver {
    endpoint: Endpoint,
    /// The store's time.
    read_at: Micros,
    /// None where they cannot be opened.
    secrets: Option<Vec<Secret>>,
    allow_hosts: AllowHosts,
}

/// A delivery, ready to be sent.
#[derive(Clone, Debug)]
pub struct Job {
    pub claimed: Claimed,
    receiver: Arc<Receiver>,
    event: EventId,
    body: Bytes,
}

/// Claimed deliveries with what they need.
#[derive(Debug, Default)]
pub struct Loaded {
    pub jobs: Vec<Job>,
    /// There is nothing to send: the event, its conversation or the endpoint is gone.
    pub closed: Vec<Claimed>,
    /// The endpoint has been disabled or put out of use since.
    pub waiting: Vec<Claimed>,
}

/// An answer, as far as it matters.
struct Answered {
    outcome: AttemptOutcome,
    status: Option<u16>,
    excerpt: Option<String>,
    asked: Option<Duration>,
}

impl Sender {
    /// Reads what claimed deliveries need; `now` is the store's time.
    pub async fn load(&self, db: &Db, claimed: Vec<Claimed>, now: Micros) -> Result<Loaded, StoreError> {
        let keys: Vec<DeliveryKey> = claimed.iter().map(|claimed| claimed.key).collect();
        let (events, receivers) = db.reading(async |conn| self.read(conn, &keys, now).await).await?;
        let mut loaded = Loaded::default();
        for claimed in claimed {
            let key = claimed.key;
            let event = events.get(&(key.workspace, key.cursor)).filter(|event| !event.is_withheld);
            match (event, receivers.get(&(key.workspace, key.endpoint))) {
                (_, Some(receiver)) if !receiver.endpoint.takes_events() => loaded.waiting.push(claimed),
                (Some(event), Some(receiver)) => loaded.jobs.push(Job {
                    claimed,
                    receiver: Arc::clone(receiver),
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
        (HashMap<(WorkspaceId, i64), SentEvent>, HashMap<(WorkspaceId, EndpointId), Arc<Receiver>>),
        StoreError,
    > {
        let places: BTreeSet<_> = keys.iter().map(|key| (key.workspace, key.endpoint)).collect();
        let places: Vec<_> = places.into_iter().collect();
        let named: BTreeSet<_> = keys.iter().map(|key| key.workspace).collect();
        let events = delivery_claims::events_of(conn.reborrow(), keys).await?;
        let endpoints = webhook_endpoints::find_many(conn.reborrow(), &places).await?;
        let settings = workspaces::settings(conn, &named).await?;
        let allow_hosts = |id| {
            let hosts = settings.iter().find(|settings| settings.id == id).map(|found| &found.allow_hosts);
            hosts.and_then(|hosts| AllowHosts::parse(hosts).ok()).unwrap_or_default()
        };
        let receiver = |endpoint: Endpoint| {
            let place = (endpoint.workspace, endpoint.id);
            let secrets = self.open_secrets(&endpoint, now);
            let allow_hosts = allow_hosts(endpoint.workspace);
            (place, Arc::new(Receiver { endpoint, read_at: now, secrets, allow_hosts }))
        };
        let events = events.into_iter().map(|event| ((event.workspace, event.cursor), event)).collect();
        Ok((events, endpoints.into_iter().map(receiver).collect()))
    }

    fn open_secrets(&self, endpoint: &Endpoint, now: Micros) -> Option<Vec<Secret>> {
        let open = |sealed| {
            let text = self.seal_key.as_deref()?.open(sealed).ok()?;
            Secret::parse(text.expose_secret()).ok()
        };
        let secrets: Option<Vec<Secret>> = endpoint.secrets(now).into_iter().map(open).collect();
        if secrets.is_none() {
            tracing::error!(endpoint.id = %endpoint.id, "an endpoint's secret cannot be opened with this REJOINDER_SECRET_KEY");
        }
        secrets
    }

    /// Sends a delivery once, and says what becomes of it.
    pub async fn attempt(&self, job: &Job) -> (Attempt, Next) {
        let started_at = self.clock.now();
        let answered = match &job.receiver.secrets {
            Some(secrets) => self.send(job, secrets, started_at).await,
            None => Answered { outcome: AttemptOutcome::Unsigned, status: None, excerpt: None, asked: None },
        };
        let Answered { outcome, status, excerpt, asked } = answered;
        let finished_at = self.clock.now();
        let seconds = finished_at.since(started_at).as_secs_f64();
        metrics::histogram!(DELIVERY_ATTEMPT_SECONDS, "outcome" => outcome.as_str()).record(seconds);
        let in_round = job.claimed.attempts - job.claimed.attempts_before + 1;
        let random = u32::from_le_bytes(self.ids.bytes());
        let next = delivery::next(outcome, in_round, asked, random);
        (Attempt { started_at, finished_at, outcome, status, excerpt }, next)
    }

    async fn send(&self, job: &Job, secrets: &[Secret], now: Micros) -> Answered {
        let request = OutboundRequest {
            method: Method::POST,
            url: job.receiver.endpoint.url.clone(),
            headers: headers(job, secrets, now),
            body: Some(job.body.clone()),
            timeout: self.timeout,
            max_response: MAX_EXCERPT,
        };
        match self.outbound.send_for_status(request, &job.receiver.allow_hosts).await {
            Ok(response) => Answered {
                outcome: AttemptOutcome::of_status(response.status),
                status: Some(response.status),
                excerpt: delivery::excerpt(&response.body),
                asked: asked(&response),
            },
            Err(error) => {
                tracing::info!(
                    delivery.id = %job.claimed.id,
                    endpoint.id = %job.claimed.key.endpoint,
                    error = &error as &dyn std::error::Error,
                    "a webhook endpoint gave no answer"
                );
                Answered { outcome: outcome_of(&error), status: None, excerpt: None, asked: None }
            }
        }
    }
}

/// Whether, and why, the endpoint is to be disabled after this attempt. For long failures it is as a delivery
/// is given up: an endpoint that is rarely used is not judged by one attempt and the silence before it.
#[must_use]
pub fn disabling(job: &Job, attempt: &Attempt, next: Next) -> Option<Disabling> {
    let Receiver { endpoint, read_at, .. } = job.receiver.as_ref();
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
            let is_to_be = next == Next::Failed && endpoint.has_failed_for_long(*read_at);
            is_to_be.then_some(DisabledReason::Failing)
        }
    };
    reason.map(|reason| Disabling { reason, url: endpoint.url.clone() })
}

fn headers(job: &Job, secrets: &[Secret], now: Micros) -> HeaderMap {
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

fn asked(response: &OutboundResponse) -> Option<Duration> {
    let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
    retry_after(text(RETRY_AFTER)?, text(DATE))
}

fn outcome_of(error: &OutboundError) -> AttemptOutcome {
    match error {
        OutboundError::Refused(_) => AttemptOutcome::Blocked,
        OutboundError::Timeout => AttemptOutcome::TimedOut,
        OutboundError::Connect(_) => AttemptOutcome::Unreachable,
        OutboundError::TooLarge { status } => AttemptOutcome::of_status(*status),
        OutboundError::Broken(_) | OutboundError::Setup(_) => AttemptOutcome::Broken,
    }
}
