//! The rate limits of the widget API, counted in this process: a burst of the rate's size, refilled evenly. Daily and spending
//! limits are counted in the database.

mod address;
mod headers;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

pub(in crate::http) use address::{Address, AddressResolver, Ipv6Site, Peer, is_private};
pub(in crate::http) use headers::insert_headers;

use crate::config::{self, Rate};

/// The interval at which keys with a full burst are removed.
const SWEEP: Duration = Duration::from_mins(1);

type KeyedRateLimiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The limiters of the widget API.
pub struct Limits {
    conversations: Limiter<Uuid>,
    addresses: Limiter<Address>,
    new_conversations: Limiter<Address>,
    /// Resolves the address that a request comes from.
    pub(in crate::http) resolver: AddressResolver,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

/// The limits that a request counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RequestKind {
    Request,
    NewConversation,
    /// A message to this conversation, which need not exist.
    Message(Option<Uuid>),
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

impl Limits {
    /// The limiters of a configuration; none if they are disabled.
    #[must_use]
    pub fn new(limits: &config::Limits) -> Option<Arc<Self>> {
        limits.enabled.then(|| {
            Arc::new(Self {
                conversations: Limiter::new("conversation", limits.per_conversation),
                addresses: Limiter::new("address", limits.per_address),
                new_conversations: Limiter::new("new-conversations", limits.new_conversations_per_address),
                resolver: AddressResolver::new(limits.trusted_proxy_hops),
            })
        })
    }

    /// Counts a request. `address` is none if a key lifts the limits by address. Returns the limit with the fewest
    /// remaining requests.
    pub(in crate::http) fn count(
        &self,
        kind: RequestKind,
        address: Option<Address>,
    ) -> Option<RateLimitStatus> {
        let mut nearest = address.map(|address| self.addresses.check(&address));
        if nearest.is_some_and(|status| status.retry_after.is_some()) {
            return nearest;
        }
        let specific = match (kind, address) {
            (RequestKind::Request | RequestKind::Message(None), _) | (RequestKind::NewConversation, None) => {
                None
            }
            (RequestKind::NewConversation, Some(address)) => Some(self.new_conversations.check(&address)),
            (RequestKind::Message(Some(conversation)), _) => Some(self.conversations.check(&conversation)),
        };
        if let Some(specific) = specific
            && nearest.is_none_or(|nearest| specific.remaining <= nearest.remaining)
        {
            nearest = Some(specific);
        }
        nearest
    }

    /// Removes idle keys periodically; runs until it is dropped.
    pub async fn sweep_periodically(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        loop {
            ticks.tick().await;
            self.conversations.sweep();
            self.addresses.sweep();
            self.new_conversations.sweep();
        }
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
    use std::num::NonZeroU32;

    use super::*;

    fn limits(conversation: u32, address: u32) -> Limits {
        let rate = |count| Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_hours(1) };
        Limits {
            conversations: Limiter::new("conversation", rate(conversation)),
            addresses: Limiter::new("address", rate(address)),
            new_conversations: Limiter::new("new-conversations", rate(1)),
            resolver: AddressResolver::new(0),
        }
    }

    #[test]
    fn the_nearest_limit_is_reported() {
        let limits = limits(2, 3);
        let here = Address::from([127, 0, 0, 1]);
        let message = RequestKind::Message(Some(Uuid::nil()));

        let first = limits.count(message, Some(here)).unwrap();
        assert_eq!((first.name, first.remaining), ("conversation", 1));
        let second = limits.count(message, Some(here)).unwrap();
        assert_eq!((second.name, second.remaining, second.retry_after), ("conversation", 0, None));
        let third = limits.count(message, Some(here)).unwrap();
        assert!(third.retry_after.is_some_and(|wait| wait > Duration::from_mins(20)));
        let fourth = limits.count(RequestKind::Request, Some(here)).unwrap();
        assert_eq!((fourth.name, fourth.remaining), ("address", 0));
    }

    #[test]
    fn a_key_lifts_the_limits_by_address_alone() {
        let limits = limits(1, 1);

        assert_eq!(limits.count(RequestKind::Request, None), None);
        assert_eq!(limits.count(RequestKind::NewConversation, None), None);
        let message = RequestKind::Message(Some(Uuid::nil()));
        assert_eq!(limits.count(message, None).unwrap().retry_after, None);
        assert!(limits.count(message, None).unwrap().retry_after.is_some());
    }

    #[test]
    fn a_sweep_keeps_the_keys_that_are_still_counted() {
        let limits = limits(1, 1);
        limits.count(RequestKind::Message(Some(Uuid::nil())), None);

        limits.conversations.sweep();

        assert_eq!(limits.conversations.keyed.len(), 1);
    }
}
