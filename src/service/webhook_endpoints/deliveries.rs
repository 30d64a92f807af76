//! What was sent to a webhook endpoint, and what is sent to it again.

use super::find;
use crate::domain::account::Account;
use crate::domain::clock::Micros;
use crate::domain::delivery::{DeliveryKey, DeliveryState};
use crate::domain::delivery_log::{Logged, Told};
use crate::domain::error::{Error, Thing};
use crate::domain::event::EventType;
use crate::domain::ids::{DeliveryId, EndpointId, WorkspaceId};
use crate::domain::webhook_endpoint::Endpoint;
use crate::service::Services;
use crate::service::page::{self, Page};
use crate::store::Conn;
use crate::store::delivery_log::{self, Again, AgainEvent};
use crate::store::kept_events::{self, Range};

/// How many attempts are told of a delivery.
const ATTEMPTS: i64 = 100;
/// How many events are queued again in one transaction.
const PORTION: usize = 500;
/// How many of them one request takes.
const MOST_AGAIN: usize = 10_000;

/// Which deliveries of an endpoint are asked for.
#[derive(Clone, Copy, Debug)]
pub struct WantedDeliveries {
    pub state: Option<DeliveryState>,
    /// Of events before this cursor.
    pub before: i64,
}

/// At most `limit` deliveries of an endpoint, the newest event's first.
pub async fn list(
    services: &Services,
    account: &Account,
    name: &str,
    wanted: WantedDeliveries,
    limit: usize,
) -> Result<Page<Logged, i64>, Error> {
    let endpoint = find(services, account, name).await?;
    let (workspace, id, ask) = (account.workspace, endpoint.id, page::rows(limit));
    let WantedDeliveries { state, before } = wanted;
    let read = async |conn: Conn<'_>| delivery_log::list(conn, workspace, id, state, before, ask).await;
    let found = services.db.reading(read).await?;
    Ok(Page::cut(found, limit, |delivery| delivery.cursor))
}

/// A delivery of an endpoint, both by their ids as they were sent, with its attempts.
pub async fn read(services: &Services, account: &Account, endpoint: &str, name: &str) -> Result<Told, Error> {
    let endpoint = find(services, account, endpoint).await?;
    tell(services, account.workspace, endpoint.id, name).await
}

async fn tell(
    services: &Services,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    name: &str,
) -> Result<Told, Error> {
    let not_found = || Error::not_found(Thing::Delivery, name);
    let id: DeliveryId = name.parse().map_err(|_| not_found())?;
    let read = async |mut conn: Conn<'_>| {
        let found = delivery_log::find(conn.reborrow(), workspace, endpoint, id).await?;
        let Some(delivery) = found else { return Ok(None) };
        let key = DeliveryKey { workspace, endpoint, cursor: delivery.cursor };
        let attempts = delivery_log::last_attempts(conn, key, ATTEMPTS).await?;
        Ok(Some(Told { delivery, attempts }))
    };
    services.db.reading(read).await?.ok_or_else(not_found)
}

/// Sends a delivery again, with the id that it had; whether it was queued for that. One that is being
/// sent, or is to be for the first time, is let be.
pub async fn resend(
    services: &Services,
    account: &Account,
    endpoint: &str,
    name: &str,
) -> Result<(Told, bool), Error> {
    let endpoint = find_taking(services, account, endpoint).await?;
    let told = tell(services, account.workspace, endpoint.id, name).await?;
    let event = (told.delivery.cursor, told.delivery.conversation);
    let queued = queue_again(services, &endpoint, vec![event]).await?;
    let told = tell(services, account.workspace, endpoint.id, name).await?;
    Ok((told, queued > 0))
}

/// Which events are to be sent again.
#[derive(Clone, Debug)]
pub struct WantedReplay {
    pub from: ReplayFrom,
    /// Absent: those that the endpoint takes.
    pub types: Option<Vec<EventType>>,
}

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// After this cursor.
    After(i64),
    /// With the events of this time.
    Since(Micros),
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub deliveries: u64,
    /// Where to go on, if there are more events than one request takes.
    pub next: Option<i64>,
}

/// Sends kept events again, or for the first time where they never went to this endpoint. Each portion
/// holds, whatever becomes of the next.
pub async fn replay(
    services: &Services,
    account: &Account,
    name: &str,
    wanted: WantedReplay,
) -> Result<Replayed, Error> {
    let endpoint = find_taking(services, account, name).await?;
    let mut range = range(services, account.workspace, &endpoint, wanted).await?;
    let mut replayed = Replayed { deliveries: 0, next: None };
    for _ in 0..MOST_AGAIN / PORTION {
        let limit = page::rows(PORTION - 1);
        let events = services.db.reading(async |conn| kept_events::list(conn, &range, limit).await).await?;
        let Some((last, _)) = events.last().copied() else { return Ok(replayed) };
        let is_whole = events.len() == PORTION;
        replayed.deliveries += queue_again(services, &endpoint, events).await?;
        range.after = last;
        if !is_whole {
            return Ok(replayed);
        }
    }
    replayed.next = Some(range.after);
    Ok(replayed)
}

async fn range(
    services: &Services,
    workspace: WorkspaceId,
    endpoint: &Endpoint,
    wanted: WantedReplay,
) -> Result<Range, Error> {
    let types = wanted.types.unwrap_or_else(|| endpoint.types.clone());
    let read = async |mut conn: Conn<'_>| {
        let last = kept_events::last(conn.reborrow(), workspace).await?;
        let (after, since) = match wanted.from {
            ReplayFrom::After(cursor) => (cursor, None),
            ReplayFrom::Since(at) => (kept_events::before(conn, workspace, at, last).await?, Some(at)),
        };
        Ok(Range { workspace, after, last, since, types })
    };
    Ok(services.db.reading(read).await?)
}

/// An endpoint that takes events: what is queued for another would wait.
async fn find_taking(services: &Services, account: &Account, name: &str) -> Result<Endpoint, Error> {
    let endpoint = find(services, account, name).await?;
    if endpoint.enabled { Ok(endpoint) } else { Err(disabled()) }
}

fn disabled() -> Error {
    Error::invalid("enabled", "The webhook endpoint is disabled.")
}

async fn queue_again(
    services: &Services,
    endpoint: &Endpoint,
    events: Vec<AgainEvent>,
) -> Result<u64, Error> {
    let clock = services.clock.as_ref();
    let events = events.into_iter().map(|event| (event, DeliveryId(services.ids.ordered(clock)))).collect();
    let again = Again { workspace: endpoint.workspace, endpoint: endpoint.id, events };
    Ok(services.db.writing(async |conn| delivery_log::queue_again(conn, &again, clock).await).await?)
}

/// Sends a test event to an endpoint; its delivery.
pub async fn test(services: &Services, account: &Account, name: &str) -> Result<Told, Error> {
    let endpoint = find(services, account, name).await?;
    let delivery = services.writer.test_endpoint(account.workspace, endpoint.id).await?;
    tell(services, account.workspace, endpoint.id, &delivery.to_string()).await
}
