//! The rate limits of both APIs, counted in this process: a burst of the rate's size, refilled evenly. Daily and spending limits
//! are counted in the database.

mod address;
mod headers;

use std::fmt;
use std::hash::Hash;
use std::iter;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderMap;
use ipnet::IpNet;
use uuid::Uuid;

use address::AddressResolver;
pub(in crate::http) use address::{Address, Peer, contains};
pub(in crate::http) use headers::insert_headers;

use super::network_count::{Bounds, Count};
use crate::config::{self, Rate};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{KeyId, OperatorKeyId, WorkspaceId};

/// The interval at which keys with a full burst are removed. Short, because a flood from many IPv6 networks adds a key with each
/// request.
const SWEEP: Duration = Duration::from_secs(10);

/// How long a client with too many streams is asked to wait.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The limits of a /64, a /56 and a /48 of IPv6, in multiples of the limit of an address.
pub(in crate::http) const NETWORK_MULTIPLES: [u32; 3] = [1, 4, 16];

type KeyedRateLimiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The limiters of both APIs.
pub struct Limits {
    conversations: Limiter<Uuid>,
    changes: Limiter<Uuid>,
    addresses: AddressLimiter,
    new_conversations: AddressLimiter,
    failed_authentications: AddressLimiter,
    keys: Limiter<KeyId>,
    operator_keys: Limiter<OperatorKeyId>,
    workspaces: Limiter<WorkspaceId>,
    resolver: AddressResolver,
    streams: Mutex<Count>,
    streams_per_address: usize,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

/// The limits that a request counts towards, besides those of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RequestKind {
    Request,
    NewConversation,
    /// A message to this conversation, which need not exist.
    Message(Option<Uuid>),
    /// Another change of this conversation, which need not exist.
    Change(Option<Uuid>),
}

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Caller {
    Visitor(Address),
    /// A key, which lifts the limits by address.
    Key {
        key: KeyId,
        workspace: WorkspaceId,
    },
}

impl From<&Account> for Caller {
    fn from(account: &Account) -> Self {
        Self::Key { key: account.key, workspace: account.workspace }
    }
}

/// The state of a limit after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct RateLimitStatus {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) rate: Rate,
    pub(in crate::http) remaining: u32,
    /// Present if the request exceeds the limit: the time until the next one does not.
    pub(in crate::http) retry_after: Option<Duration>,
}

impl RateLimitStatus {
    /// [`Error::LimitReached`] if the request exceeds the limit.
    pub(in crate::http) fn check(&self) -> Result<(), Error> {
        match self.retry_after {
            Some(retry_after) => Err(Error::LimitReached { retry_after }),
            None => Ok(()),
        }
    }
}

impl Limits {
    /// The limiters of a configuration; none if they are disabled.
    #[must_use]
    pub fn new(limits: &config::Limits) -> Option<Arc<Self>> {
        limits.enabled.then(|| {
            Arc::new(Self {
                conversations: Limiter::new("conversation", limits.per_conversation),
                changes: Limiter::new("conversation-changes", limits.per_conversation),
                addresses: AddressLimiter::new(["address", "address-56", "address-48"], limits.per_address),
                new_conversations: AddressLimiter::new(
                    ["new-conversations", "new-conversations-56", "new-conversations-48"],
                    limits.new_conversations_per_address,
                ),
                failed_authentications: AddressLimiter::new(
                    ["failed-authentications", "failed-authentications-56", "failed-authentications-48"],
                    limits.failed_authentications_per_address,
                ),
                keys: Limiter::new("key", limits.per_key),
                operator_keys: Limiter::new("operator-key", limits.per_key),
                workspaces: Limiter::new("workspace", limits.per_workspace),
                resolver: AddressResolver::new(Arc::clone(&limits.trusted_proxies)),
                streams: Mutex::default(),
                streams_per_address: limits.streams_per_address,
            })
        })
    }

    /// The address that a request comes from.
    pub(in crate::http) fn address(&self, peer: Option<Peer>, headers: &HeaderMap) -> Address {
        self.resolver.resolve(peer, headers)
    }

    /// Counts a request. Returns the limit that it exceeds, or the one with the fewest remaining requests. A request that exceeds
    /// a limit does not count towards those after it.
    pub(in crate::http) fn count(&self, kind: RequestKind, caller: Caller) -> Option<RateLimitStatus> {
        let of_conversation = match kind {
            RequestKind::Message(conversation) => conversation.map(|id| (&self.conversations, id)),
            RequestKind::Change(conversation) => conversation.map(|id| (&self.changes, id)),
            RequestKind::Request | RequestKind::NewConversation => None,
        };
        let of_conversation = of_conversation.into_iter().map(|(limiter, id)| limiter.check(&id));
        match caller {
            Caller::Visitor(address) => {
                let is_new = kind == RequestKind::NewConversation;
                let creations = is_new.then(|| self.new_conversations.checks(address)).into_iter().flatten();
                nearest(self.addresses.checks(address).chain(creations).chain(of_conversation))
            }
            Caller::Key { key, workspace } => {
                let own = iter::once_with(|| self.keys.check(&key));
                let shared = iter::once_with(|| self.workspaces.check(&workspace));
                nearest(own.chain(shared).chain(of_conversation))
            }
        }
    }

    /// Counts a request with a key of the operator's API.
    pub(in crate::http) fn count_operator(&self, key: OperatorKeyId) -> RateLimitStatus {
        self.operator_keys.check(&key)
    }

    /// The rates of a key, and of all keys of a workspace.
    pub(in crate::http) fn key_rates(&self) -> (Rate, Rate) {
        (self.keys.rate, self.workspaces.rate)
    }

    /// Counts a message to a conversation whose request was counted before its body was read.
    pub(in crate::http) fn count_message(&self, conversation: Uuid) -> RateLimitStatus {
        self.conversations.check(&conversation)
    }

    /// Counts an open stream of a visitor until the permit is dropped.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if the address, or a wider network of it, has too many.
    pub(in crate::http) fn acquire_stream(self: &Arc<Self>, address: Address) -> Result<StreamPermit, Error> {
        let bounds = Bounds { total: usize::MAX, per_address: self.streams_per_address };
        let added = self.streams().try_add(Some(address), 1, bounds);
        added.map_err(|_exceeded| Error::LimitReached { retry_after: STREAM_RETRY_AFTER })?;
        Ok(StreamPermit { limits: Arc::clone(self), address })
    }

    fn streams(&self) -> MutexGuard<'_, Count> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a token that is invalid, or that may be, because this process has not seen it before.
    pub(in crate::http) fn count_failed_authentication(&self, address: Address) -> Option<RateLimitStatus> {
        nearest(self.failed_authentications.checks(address))
    }

    /// Removes idle keys periodically; runs until it is dropped.
    pub async fn sweep_periodically(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        loop {
            ticks.tick().await;
            self.conversations.sweep();
            self.changes.sweep();
            self.addresses.sweep();
            self.new_conversations.sweep();
            self.failed_authentications.sweep();
            self.keys.sweep();
            self.operator_keys.sweep();
            self.workspaces.sweep();
        }
    }
}

/// An open stream of a visitor, which counts until this is dropped.
#[must_use]
#[derive(Debug)]
pub(in crate::http) struct StreamPermit {
    limits: Arc<Limits>,
    address: Address,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.limits.streams().remove(Some(self.address), 1);
    }
}

/// Counts towards one limit after the other, up to the first that is exceeded. Returns that one, or the one with the fewest
/// remaining requests.
fn nearest(statuses: impl Iterator<Item = RateLimitStatus>) -> Option<RateLimitStatus> {
    let mut nearest: Option<RateLimitStatus> = None;
    for status in statuses {
        if status.retry_after.is_some() {
            return Some(status);
        }
        if nearest.is_none_or(|nearest| status.remaining <= nearest.remaining) {
            nearest = Some(status);
        }
    }
    nearest
}

/// A limit by address, with multiples of its rate for the wider networks of an IPv6 address.
struct AddressLimiter([Limiter<IpNet>; 3]);

impl AddressLimiter {
    /// The names and rates are those of the networks of [`Address::networks`], in their order.
    fn new(names: [&'static str; 3], rate: Rate) -> Self {
        let times = |multiple: u32| NonZeroU32::new(rate.count.get().saturating_mul(multiple));
        let mut multiples = NETWORK_MULTIPLES.into_iter();
        Self(names.map(|name| {
            let count = multiples.next().and_then(times).unwrap_or(rate.count);
            Limiter::new(name, Rate { count, ..rate })
        }))
    }

    /// Counts a request towards each network of its address when the iterator gets there. The narrowest comes first, so that a
    /// client that exceeds its own limit uses up nothing of its neighbours'.
    fn checks(&self, address: Address) -> impl Iterator<Item = RateLimitStatus> {
        self.0.iter().zip(address.networks()).map(|(limiter, network)| limiter.check(&network))
    }

    fn sweep(&self) {
        self.0.iter().for_each(Limiter::sweep);
    }
}

struct Limiter<K: Hash + Eq + Clone> {
    name: &'static str,
    rate: Rate,
    keyed: KeyedRateLimiter<K>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(name: &'static str, rate: Rate) -> Self {
        // A rate's count is not zero, so the quota's is not either.
        let quota = Quota::with_period(rate.period / rate.count.get())
            .map_or_else(|| Quota::per_second(rate.count), |quota| quota.allow_burst(rate.count));
        let keyed = RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>();
        Self { name, rate, keyed }
    }

    fn check(&self, key: &K) -> RateLimitStatus {
        let (remaining, retry_after) = match self.keyed.check_key(key) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(not_until) => (0, Some(not_until.wait_time_from(self.keyed.clock().now()))),
        };
        RateLimitStatus { name: self.name, rate: self.rate, remaining, retry_after }
    }

    fn sweep(&self) {
        self.keyed.retain_recent();
        self.keyed.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn rate(count: u32) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_hours(1) }
    }

    fn by_address(count: u32) -> AddressLimiter {
        AddressLimiter::new(["64", "56", "48"], rate(count))
    }

    fn limits(conversation: u32, address: u32) -> Limits {
        Limits {
            conversations: Limiter::new("conversation", rate(conversation)),
            changes: Limiter::new("conversation-changes", rate(conversation)),
            addresses: by_address(address),
            new_conversations: by_address(1),
            failed_authentications: by_address(1),
            keys: Limiter::new("key", rate(3)),
            operator_keys: Limiter::new("operator-key", rate(3)),
            workspaces: Limiter::new("workspace", rate(4)),
            resolver: AddressResolver::new(Arc::default()),
            streams: Mutex::default(),
            streams_per_address: 2,
        }
    }

    fn visitor(address: &str) -> Caller {
        Caller::Visitor(address.parse::<IpAddr>().unwrap().into())
    }

    fn key(key: u128) -> Caller {
        Caller::Key { key: KeyId(Uuid::from_u128(key)), workspace: WorkspaceId(Uuid::nil()) }
    }

    #[test]
    fn the_nearest_limit_is_reported() {
        let limits = limits(2, 3);
        let here = visitor("127.0.0.1");
        let message = RequestKind::Message(Some(Uuid::nil()));

        let first = limits.count(message, here).unwrap();
        assert_eq!((first.name, first.remaining), ("conversation", 1));
        let second = limits.count(message, here).unwrap();
        assert_eq!((second.name, second.remaining, second.retry_after), ("conversation", 0, None));
        let third = limits.count(message, here).unwrap();
        assert!(third.retry_after.is_some_and(|wait| wait > Duration::from_mins(20)));
        let fourth = limits.count(RequestKind::Request, here).unwrap();
        assert_eq!((fourth.name, fourth.remaining), ("64", 0));
    }

    #[test]
    fn changes_of_a_conversation_do_not_use_up_its_messages() {
        let limits = limits(1, 9);
        let here = visitor("127.0.0.1");
        let (change, message) =
            (RequestKind::Change(Some(Uuid::nil())), RequestKind::Message(Some(Uuid::nil())));

        limits.count(change, here).unwrap();
        let second = limits.count(change, here).unwrap();
        assert_eq!((second.name, second.retry_after.is_some()), ("conversation-changes", true));
        assert_eq!(limits.count(message, here).unwrap().retry_after, None);
    }

    #[test]
    fn an_address_has_a_few_streams_and_a_closed_one_makes_room() {
        let limits = Arc::new(limits(1, 1));
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());

        let first = limits.acquire_stream(address("192.0.2.1")).unwrap();
        let _second = limits.acquire_stream(address("192.0.2.1")).unwrap();
        assert!(limits.acquire_stream(address("192.0.2.1")).is_err());
        let _other = limits.acquire_stream(address("192.0.2.2")).unwrap();
        drop(first);
        assert!(limits.acquire_stream(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_key_counts_for_itself_and_for_its_workspace_and_not_for_its_address() {
        let limits = limits(9, 1);
        let count = |caller| {
            let status = limits.count(RequestKind::NewConversation, caller).unwrap();
            (status.name, status.remaining, status.retry_after.is_some())
        };

        assert_eq!(count(key(1)), ("key", 2, false));
        assert_eq!(count(key(1)), ("key", 1, false));
        assert_eq!(count(key(1)), ("key", 0, false));
        assert_eq!(count(key(1)), ("key", 0, true));
        // The refused request did not count towards the workspace's limit.
        assert_eq!(count(key(2)), ("workspace", 0, false));
        assert_eq!(count(key(2)), ("workspace", 0, true));
    }

    #[test]
    fn a_conversation_limits_the_messages_of_keys_too() {
        let limits = limits(1, 1);
        let message = RequestKind::Message(Some(Uuid::nil()));

        assert_eq!(limits.count(message, key(1)).unwrap().retry_after, None);
        let second = limits.count(message, key(1)).unwrap();
        assert_eq!((second.name, second.retry_after.is_some()), ("conversation", true));
    }

    #[test]
    fn an_ipv6_network_of_many_clients_has_a_limit_of_its_own() {
        let limits = limits(1, 1);
        let refused = |address: &str| {
            let status = limits.count(RequestKind::Request, visitor(address)).unwrap();
            status.retry_after.map(|_| status.name)
        };

        assert_eq!(refused("2001:db8:1:0::1"), None);
        assert_eq!(refused("2001:db8:1:0::2"), Some("64"));
        for client in 1..4 {
            assert_eq!(refused(&format!("2001:db8:1:{client:x}::1")), None);
        }
        assert_eq!(refused("2001:db8:1:4::1"), Some("56"));
        for client in 0..12 {
            let (network, host) = (1 + client / 4, client % 4);
            assert_eq!(refused(&format!("2001:db8:1:{network:x}0{host:x}::1")), None);
        }
        assert_eq!(refused("2001:db8:1:ff00::1"), Some("48"));
        assert_eq!(refused("2001:db8:2::1"), None);
    }

    #[test]
    fn failed_authentications_have_a_limit_of_their_own() {
        let limits = limits(1, 1);
        let here = Address::from(IpAddr::from([127, 0, 0, 1]));

        assert_eq!(limits.count_failed_authentication(here).unwrap().retry_after, None);
        assert!(limits.count_failed_authentication(here).unwrap().retry_after.is_some());
        assert_eq!(limits.count(RequestKind::Request, Caller::Visitor(here)).unwrap().retry_after, None);
    }

    #[test]
    fn a_sweep_keeps_the_keys_that_are_still_counted() {
        let limits = limits(1, 1);
        limits.count(RequestKind::Message(Some(Uuid::nil())), key(1));

        limits.conversations.sweep();

        assert_eq!(limits.conversations.keyed.len(), 1);
    }
}
