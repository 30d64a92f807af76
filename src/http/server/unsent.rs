//! Bounds of the bytes of responses that clients have not read: of a connection, of an address, and of a listener.
//!
//! A connection at its bound is not served before its client has read on, which is what TCP does over HTTP/1.1. A response beyond
//! the bound of its address or of the listener is refused: to let it wait would not free its memory.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ipnet::IpNet;
use tokio::sync::watch;

use super::limits::{Address, contains};
use super::network_count::{Bounds, Count};
use crate::telemetry::{HTTP_RESPONSES_REFUSED, HTTP_UNSENT_BYTES};

/// The parts of `http.max_unsent` that an address and a connection may have.
const ADDRESSES: usize = 8;
const CONNECTIONS: usize = 32;

/// The bounds of a listener, and what is unsent. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct UnsentLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    per_connection: usize,
    /// `limits.trusted_proxies`, whose connections belong to many clients.
    proxies: Arc<[IpNet]>,
    unsent: Mutex<Count>,
}

/// The unsent bytes of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Unsent(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    limit: UnsentLimit,
    /// None for a proxy: neither its address nor its connection has a limit.
    address: Option<Address>,
    bytes: watch::Sender<usize>,
}

/// Bytes that are counted until this is dropped.
#[must_use]
#[derive(Debug)]
pub(super) struct UnsentPermit {
    unsent: Unsent,
    bytes: usize,
}

/// A response does not fit beside those that are unread.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes of responses are unread")]
pub(super) struct TooMuchUnsent;

/// Bytes of a response with their permit.
#[derive(Debug)]
struct CountedBytes {
    bytes: Bytes,
    _permit: UnsentPermit,
}

impl UnsentLimit {
    /// `max` is `http.max_unsent`, in bytes; `proxies` are `limits.trusted_proxies`, which only the total limits.
    pub(super) fn new(max: usize, proxies: Arc<[IpNet]>) -> Self {
        Self(Arc::new(Shared {
            bounds: Bounds { total: max, per_address: max / ADDRESSES },
            per_connection: max / CONNECTIONS,
            proxies,
            unsent: Mutex::default(),
        }))
    }

    /// A new connection from an address.
    pub(super) fn connection(&self, peer: IpAddr) -> Unsent {
        let address = (!contains(&self.0.proxies, peer)).then(|| Address::from(peer));
        Unsent(Arc::new(Connection { limit: self.clone(), address, bytes: watch::Sender::new(0) }))
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsent {
    /// Whether the connection is below its bound.
    pub(super) fn has_room(&self) -> bool {
        self.is_below_bound(*self.0.bytes.borrow())
    }

    /// Waits until the client has read enough.
    pub(super) async fn wait_for_room(&self) {
        // The sender exists as long as `self`.
        let _ = self.0.bytes.subscribe().wait_for(|bytes| self.is_below_bound(*bytes)).await;
    }

    /// At least one response is sent, however small the bound is. A proxy's connection has no bound: over HTTP/2 it carries the
    /// requests of many clients, and one that reads slowly must not delay the others.
    fn is_below_bound(&self, bytes: usize) -> bool {
        let Connection { limit, address, .. } = &*self.0;
        address.is_none() || bytes == 0 || bytes < limit.0.per_connection
    }

    /// Counts bytes, unless they exceed the bound of the address or of the listener.
    pub(super) fn try_acquire(&self, bytes: usize) -> Result<UnsentPermit, TooMuchUnsent> {
        let Connection { limit, address, .. } = &*self.0;
        let added = limit.count().try_add(*address, bytes, limit.0.bounds);
        match added {
            Ok(()) => Ok(self.permit(bytes)),
            Err(exceeded) => {
                metrics::counter!(HTTP_RESPONSES_REFUSED, "limit" => exceeded.as_str()).increment(1);
                Err(TooMuchUnsent)
            }
        }
    }

    /// Counts bytes also beyond the bounds.
    pub(super) fn acquire(&self, bytes: usize) -> UnsentPermit {
        self.0.limit.count().add(self.0.address, bytes);
        self.permit(bytes)
    }

    fn permit(&self, bytes: usize) -> UnsentPermit {
        self.0.bytes.send_modify(|unsent| *unsent += bytes);
        metrics::gauge!(HTTP_UNSENT_BYTES).increment(as_f64(bytes));
        UnsentPermit { unsent: self.clone(), bytes }
    }
}

impl UnsentPermit {
    /// Counts these bytes until their last slice is dropped. Bytes that someone else keeps anyway, such as a static document, are
    /// not counted.
    pub(super) fn attach(self, bytes: Bytes) -> Bytes {
        if bytes.is_unique() { Bytes::from_owner(CountedBytes { bytes, _permit: self }) } else { bytes }
    }
}

impl Drop for UnsentPermit {
    fn drop(&mut self) {
        let Connection { limit, address, bytes } = &*self.unsent.0;
        limit.count().remove(*address, self.bytes);
        bytes.send_modify(|unsent| *unsent -= self.bytes);
        metrics::gauge!(HTTP_UNSENT_BYTES).decrement(as_f64(self.bytes));
    }
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn as_f64(bytes: usize) -> f64 {
    u32::try_from(bytes).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// 320 bytes in all: 40 for an address, 10 for a connection.
    fn connection(limit: &UnsentLimit, address: &str) -> Unsent {
        limit.connection(address.parse().unwrap())
    }

    fn limit() -> UnsentLimit {
        UnsentLimit::new(320, Arc::from(["10.0.0.0/8".parse().unwrap()]))
    }

    #[test]
    fn an_address_beyond_its_part_is_refused_and_another_is_not() {
        let limit = limit();
        let (greedy, honest) = (connection(&limit, "192.0.2.1"), connection(&limit, "192.0.2.2"));

        let first = greedy.try_acquire(30).unwrap();
        assert!(connection(&limit, "192.0.2.1").try_acquire(20).is_err());
        assert!(honest.try_acquire(20).is_ok());
        drop(first);
        assert!(greedy.try_acquire(20).is_ok());
    }

    #[test]
    fn proxies_are_limited_only_in_total() {
        let limit = limit();
        let proxy = connection(&limit, "10.0.0.1");

        let permits: Vec<_> = (0..10).map(|_| proxy.try_acquire(32)).collect();

        assert!(permits.iter().all(Result::is_ok));
        assert!(proxy.has_room(), "its connection carries the requests of other clients, too");
        assert!(proxy.try_acquire(1).is_err());
    }

    #[test]
    fn a_connection_at_its_bound_waits_until_its_client_has_read() {
        let unsent = connection(&limit(), "192.0.2.1");
        let mut context = Context::from_waker(Waker::noop());
        let first = unsent.acquire(9);
        assert!(unsent.has_room());
        let second = unsent.acquire(1);
        assert!(!unsent.has_room());

        let mut room = Box::pin(unsent.wait_for_room());
        assert!(room.as_mut().poll(&mut context).is_pending());
        drop(second);

        assert!(room.as_mut().poll(&mut context).is_ready());
        drop(first);
    }

    #[test]
    fn bytes_are_counted_until_their_last_slice_is_dropped() {
        let limit = limit();
        let unsent = connection(&limit, "192.0.2.1");

        let mut bytes = unsent.acquire(20).attach(Bytes::from(vec![1; 20]));
        let slice = bytes.split_to(1);
        drop(bytes);
        assert!(!limit.count().is_empty());
        drop(slice);

        assert!(limit.count().is_empty());
        assert_eq!(*unsent.0.bytes.borrow(), 0);
    }

    #[test]
    fn shared_bytes_are_not_counted() {
        let (limit, document) = (limit(), Bytes::from(vec![1; 20]));

        let sent = connection(&limit, "192.0.2.1").acquire(20).attach(document.clone());

        assert!(limit.count().is_empty());
        assert_eq!(sent.as_ptr(), document.as_ptr());
    }
}
