//! The look-ups of tokens that are not known to be valid. Few run at a time, so that invalid tokens do not use up the connections for
//! reading; and a client has one place in the queue, so that one with many invalid tokens waits behind itself and not in front of
//! others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::error::Error;

/// Concurrent look-ups.
const MAX_LOOKUPS: usize = 2;
/// How long a token waits for its look-up, and the delay after which another attempt is worthwhile.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::service) struct LookupQueue {
    permits: Arc<Semaphore>,
    clients: Clients,
}

/// The clients that have requests in the queue.
type Clients = Arc<Mutex<HashMap<IpNet, Client>>>;

#[derive(Debug)]
struct Client {
    requests: usize,
    turn: Arc<Semaphore>,
}

/// Permits one look-up until it is dropped.
#[derive(Debug)]
pub(in crate::service) struct LookupPermit {
    _permit: OwnedSemaphorePermit,
    _turn: Option<OwnedSemaphorePermit>,
    _request: Option<ClientRequest>,
}

/// A request in the queue of its client, until it is dropped.
#[derive(Debug)]
struct ClientRequest {
    clients: Clients,
    client: IpNet,
    turn: Arc<Semaphore>,
}

impl Default for LookupQueue {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_LOOKUPS)), clients: Arc::default() }
    }
}

impl LookupQueue {
    /// Waits for a permit. `client` is the network of the client; without one, only the number of look-ups is limited.
    ///
    /// # Errors
    /// [`Error::LimitReached`] after a second.
    pub(in crate::service) async fn acquire(&self, client: Option<IpNet>) -> Result<LookupPermit, Error> {
        let request = client.map(|client| ClientRequest::new(&self.clients, client));
        let acquire = async {
            let turn = match &request {
                Some(request) => Some(Arc::clone(&request.turn).acquire_owned().await?),
                None => None,
            };
            let permit = Arc::clone(&self.permits).acquire_owned().await?;
            Ok::<_, AcquireError>((permit, turn))
        };
        let acquired = timeout(MAX_WAIT, acquire).await.ok().and_then(Result::ok);
        let (permit, turn) = acquired.ok_or(Error::LimitReached { retry_after: MAX_WAIT })?;
        Ok(LookupPermit { _permit: permit, _turn: turn, _request: request })
    }
}

impl ClientRequest {
    fn new(clients: &Clients, client: IpNet) -> Self {
        let mut waiting = lock(clients);
        let entry = waiting
            .entry(client)
            .or_insert_with(|| Client { requests: 0, turn: Arc::new(Semaphore::new(1)) });
        entry.requests += 1;
        let turn = Arc::clone(&entry.turn);
        drop(waiting);
        Self { clients: Arc::clone(clients), client, turn }
    }
}

impl Drop for ClientRequest {
    fn drop(&mut self) {
        if let Entry::Occupied(mut client) = lock(&self.clients).entry(self.client) {
            client.get_mut().requests -= 1;
            if client.get().requests == 0 {
                client.remove();
            }
        }
    }
}

fn lock(clients: &Clients) -> MutexGuard<'_, HashMap<IpNet, Client>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn client(number: u8) -> IpNet {
        IpNet::from(std::net::IpAddr::from([192, 0, 2, number]))
    }

    #[tokio::test]
    async fn two_look_ups_run_at_a_time() {
        let queue = LookupQueue::default();
        let first = queue.acquire(None).await.unwrap();
        let _second = queue.acquire(Some(client(1))).await.unwrap();

        assert!(queue.acquire(Some(client(2))).now_or_never().is_none());
        drop(first);
        assert!(queue.acquire(Some(client(2))).await.is_ok());
    }

    #[tokio::test]
    async fn a_client_with_many_tokens_waits_behind_itself() {
        let queue = LookupQueue::default();
        let first = queue.acquire(Some(client(1))).await.unwrap();
        let mut flood: Vec<_> = (0..100).map(|_| Box::pin(queue.acquire(Some(client(1))))).collect();
        for request in &mut flood {
            assert!(request.as_mut().now_or_never().is_none());
        }

        let other = queue.acquire(Some(client(2))).now_or_never();

        assert!(other.is_some_and(|permit| permit.is_ok()));
        drop(first);
        assert!(flood.remove(0).await.is_ok(), "the next one has its turn");
    }

    #[tokio::test]
    async fn requests_that_are_over_or_given_up_leave_nothing_behind() {
        let queue = LookupQueue::default();
        let first = queue.acquire(Some(client(1))).await.unwrap();

        assert!(queue.acquire(Some(client(1))).now_or_never().is_none(), "it is given up");
        assert_eq!(lock(&queue.clients).len(), 1);
        drop(first);

        assert_eq!(lock(&queue.clients).len(), 0);
    }
}
