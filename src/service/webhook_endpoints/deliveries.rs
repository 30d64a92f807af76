//! The deliveries of a webhook endpoint: list, resend and replay.

use crate::domain::account::Account;
use crate::domain::clock::Micros;
use crate::domain::delivery::{DeliveryKey, DeliveryState};
use crate::domain::delivery_log::{DeliveryDetails, DeliveryLogEntry};
use crate::domain::error::Error;
use crate::domain::event::{EventCursor, EventType};
use crate::domain::ids::{DeliveryId, EndpointId, ResourceId as _, WorkspaceId};
use crate::domain::webhook_endpoint::Endpoint;
use crate::service::page::{self, Page};
use crate::service::read_events::{self, FeedQuery, StartPosition};
use crate::service::write_error::write_error;
use crate::service::{Services, resources};
use crate::store::Conn;
use crate::store::deliveries;
use crate::store::deliveries::log::{DeliveryReplay, ReplayEvent};
use crate::store::events;
use crate::store::events::replay::EventRange;
use crate::writer::TestEndpoint;

/// Attempts that are shown of a delivery.
const MAX_ATTEMPTS: i64 = 100;
/// Events that are queued again in one transaction.
const REPLAY_BATCH: usize = 500;
/// Events that one request replays.
const MAX_REPLAY_EVENTS: usize = 10_000;

/// The filter of a list of deliveries.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryQuery {
    pub state: Option<DeliveryState>,
    /// Of events before this cursor.
    pub before: i64,
}

/// At most `limit` deliveries of an endpoint, newest event first.
pub async fn list(
    services: &Services,
    account: &Account,
    name: &str,
    query: DeliveryQuery,
    limit: usize,
) -> Result<Page<DeliveryLogEntry, i64>, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, name).await?;
    let (workspace, id) = (account.workspace, endpoint.id);
    let DeliveryQuery { state, before } = query;
    let read =
        async |conn: Conn<'_>, rows| deliveries::log::list(conn, workspace, id, state, before, rows).await;
    Page::read(&services.db, workspace, limit, read, |delivery| delivery.cursor).await
}

/// A delivery with its attempts, by the ids of endpoint and delivery as sent.
pub async fn read(
    services: &Services,
    account: &Account,
    endpoint: &str,
    name: &str,
) -> Result<DeliveryDetails, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, endpoint).await?;
    load_details(services, account.workspace, endpoint.id, name).await
}

async fn load_details(
    services: &Services,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    name: &str,
) -> Result<DeliveryDetails, Error> {
    let id = DeliveryId::parse(name)?;
    let read = async |mut conn: Conn<'_>| {
        let found = deliveries::log::find(conn.reborrow(), workspace, endpoint, id).await?;
        let Some(delivery) = found else { return Ok(None) };
        let key = DeliveryKey { workspace, endpoint, cursor: delivery.cursor };
        let attempts = deliveries::log::last_attempts(conn, key, MAX_ATTEMPTS).await?;
        Ok(Some(DeliveryDetails { delivery, attempts }))
    };
    services.db.read(workspace, read).await?.ok_or_else(|| DeliveryId::not_found(name))
}

/// Sends a delivery again with its id. [`Error::DeliveryUnderWay`] if it is being sent or waits for its first
/// attempt.
pub async fn resend(
    services: &Services,
    account: &Account,
    endpoint: &str,
    name: &str,
) -> Result<DeliveryDetails, Error> {
    let endpoint = find_enabled(services, account, endpoint).await?;
    let details = load_details(services, account.workspace, endpoint.id, name).await?;
    let event = (details.delivery.cursor, details.delivery.conversation);
    if requeue(services, &endpoint, vec![event]).await? == 0 {
        return Err(Error::DeliveryUnderWay);
    }
    load_details(services, account.workspace, endpoint.id, name).await
}

/// The events of a replay.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    pub from: ReplayFrom,
    /// Absent: the types of the endpoint.
    pub types: Option<Vec<EventType>>,
}

/// The start of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// After this cursor.
    After(StartPosition),
    /// From this time on.
    Since(Micros),
}

/// The result of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayResult {
    /// Without deliveries that were being sent.
    pub deliveries: u64,
    /// The cursor to continue from, if there are more events than one request replays.
    pub next: Option<EventCursor>,
}

/// Sends retained events again, or for the first time if this endpoint never got them. A cursor before the oldest
/// event is refused as in the feed. Each batch is committed on its own.
pub async fn replay(
    services: &Services,
    account: &Account,
    name: &str,
    request: ReplayRequest,
) -> Result<ReplayResult, Error> {
    let endpoint = find_enabled(services, account, name).await?;
    let (epoch, mut range) = range(services, account, &endpoint, request).await?;
    let mut result = ReplayResult { deliveries: 0, next: None };
    for _ in 0..MAX_REPLAY_EVENTS / REPLAY_BATCH {
        let limit = page::fetch_limit(REPLAY_BATCH - 1);
        let next_events = async |conn: Conn<'_>| events::replay::list(conn, &range, limit).await;
        let events = services.db.read(range.workspace, next_events).await?;
        let Some((last, _)) = events.last().copied() else { return Ok(result) };
        let is_full = events.len() == REPLAY_BATCH;
        result.deliveries += requeue(services, &endpoint, events).await?;
        range.after = last;
        if !is_full {
            return Ok(result);
        }
    }
    result.next = Some(EventCursor { epoch, number: range.after });
    Ok(result)
}

/// The events of a replay, and the epoch of the store.
async fn range(
    services: &Services,
    account: &Account,
    endpoint: &Endpoint,
    request: ReplayRequest,
) -> Result<(i64, EventRange), Error> {
    let workspace = account.workspace;
    let types = request.types.unwrap_or_else(|| endpoint.types.clone());
    let latest = async |conn: Conn<'_>| events::replay::latest_cursor(conn, workspace).await;
    let last = services.db.read(workspace, latest).await?;
    let (after, since) = match request.from {
        ReplayFrom::After(after) => (after, None),
        ReplayFrom::Since(at) => (StartPosition::Oldest, Some(at)),
    };
    let feed_query =
        FeedQuery { after, after_source: "Field 'after'", types: Vec::new(), conversation: None };
    let reader = read_events::open_reader(services, account, &feed_query).await?;
    let after = match since {
        None => reader.cursor,
        Some(at) => {
            let before =
                async |conn: Conn<'_>| events::replay::cursor_before(conn, workspace, at, last).await;
            services.db.read(workspace, before).await?
        }
    };
    Ok((reader.epoch, EventRange { workspace, after, last, since, types }))
}

/// Requires an enabled endpoint: deliveries to a disabled one would wait.
async fn find_enabled(services: &Services, account: &Account, name: &str) -> Result<Endpoint, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, name).await?;
    if endpoint.enabled { Ok(endpoint) } else { Err(disabled()) }
}

fn disabled() -> Error {
    Error::Conflict("The webhook endpoint is disabled.".to_owned())
}

async fn requeue(services: &Services, endpoint: &Endpoint, events: Vec<ReplayEvent>) -> Result<u64, Error> {
    let clock = services.clock.as_ref();
    let events = events.into_iter().map(|event| (event, DeliveryId(services.ids.uuid_v7(clock)))).collect();
    let batch = DeliveryReplay { workspace: endpoint.workspace, endpoint: endpoint.id, events };
    let write = async |conn: Conn<'_>| deliveries::log::enqueue_replay(conn, &batch, clock).await;
    services.db.write(endpoint.workspace, write).await.map_err(write_error)
}

/// Sends a test event to an endpoint and returns its delivery.
pub async fn test(services: &Services, account: &Account, name: &str) -> Result<DeliveryDetails, Error> {
    let endpoint = resources::find::<Endpoint>(services, account, name).await?;
    let delivery =
        services.writer.execute(TestEndpoint { workspace: account.workspace, endpoint: endpoint.id }).await?;
    load_details(services, account.workspace, endpoint.id, &delivery.to_string()).await
}
