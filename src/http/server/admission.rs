//! Limits of open connections: in total, by address, and a reserve beyond the total in which only health is answered.
//!
//! A connection is accepted first and then judged, so a full server still tells its clients, and its operators, that it is full. One
//! beyond the limit of its address is closed without an answer, as Envoy and `HAProxy` do: an answer would cost what the limit saves.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::limits::{Address, contains};
use super::network_count::{Bounds, Count, Exceeded};
use crate::config;
use crate::telemetry::{HTTP_CONNECTIONS, HTTP_CONNECTIONS_REFUSED};

/// The connections beyond `http.max_connections` that are answered.
const RESERVE: usize = 64;
/// The connections of one address among them.
const RESERVE_PER_ADDRESS: usize = 4;
/// Refusals are logged at most once in this time.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Decides which connections are served. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    full: Bounds,
    reserve: Bounds,
    /// `limits.trusted_proxies`, whose connections belong to many clients.
    proxies: Arc<[IpNet]>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    full: Count,
    reserve: Count,
    warned_at: Option<Instant>,
}

/// The part of the limits that a connection counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Full,
    Reserve,
}

/// An admitted connection; its drop makes room for another.
#[must_use]
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    admission: Admission,
    share: Share,
    /// None if its address has no limit.
    address: Option<Address>,
}

impl Admission {
    /// `proxies` are `limits.trusted_proxies`: their connections have no limit by address.
    pub(super) fn new(http: &config::Http, proxies: Arc<[IpNet]>) -> Self {
        Self(Arc::new(Shared {
            full: Bounds { total: http.max_connections, per_address: http.max_connections_per_address },
            reserve: Bounds { total: RESERVE, per_address: RESERVE_PER_ADDRESS },
            proxies,
            open: Mutex::default(),
        }))
    }

    /// Admits a connection from an address; none if it has to be closed.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<ConnectionPermit> {
        let Shared { full, reserve, proxies, .. } = &*self.0;
        let address = Address::from(peer);
        let limited = (!contains(proxies, peer)).then_some(address);
        let mut open = self.open();
        let exceeded = match open.full.try_add(limited, 1, *full) {
            Ok(()) => return Some(self.permit(Share::Full, limited)),
            Err(exceeded) => exceeded,
        };
        open.record_refusal(exceeded);
        if exceeded == Exceeded::Total && open.reserve.try_add(Some(address), 1, *reserve).is_ok() {
            return Some(self.permit(Share::Reserve, Some(address)));
        }
        None
    }

    fn permit(&self, share: Share, address: Option<Address>) -> ConnectionPermit {
        metrics::gauge!(HTTP_CONNECTIONS).increment(1.0);
        ConnectionPermit { admission: self.clone(), share, address }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Whether only health is answered.
    pub(super) fn is_reserve(&self) -> bool {
        self.share == Share::Reserve
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        metrics::gauge!(HTTP_CONNECTIONS).decrement(1.0);
        let mut open = self.admission.open();
        match self.share {
            Share::Full => open.full.remove(self.address, 1),
            Share::Reserve => open.reserve.remove(self.address, 1),
        }
    }
}

impl Open {
    fn record_refusal(&mut self, exceeded: Exceeded) {
        metrics::counter!(HTTP_CONNECTIONS_REFUSED, "limit" => exceeded.as_str()).increment(1);
        if self.warned_at.is_some_and(|at| at.elapsed() < WARNING_INTERVAL) {
            return;
        }
        self.warned_at = Some(Instant::now());
        let setting = match exceeded {
            Exceeded::Address => "http.max_connections_per_address",
            Exceeded::Total => "http.max_connections",
        };
        tracing::warn!("connections are refused ({setting} is reached); logged at most once a minute");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(total: usize, per_address: usize, proxies: &[&str]) -> Admission {
        Admission(Arc::new(Shared {
            full: Bounds { total, per_address },
            reserve: Bounds { total: 3, per_address: 2 },
            proxies: proxies.iter().map(|network| network.parse().unwrap()).collect(),
            open: Mutex::default(),
        }))
    }

    fn admit(admission: &Admission, address: &str) -> Option<ConnectionPermit> {
        admission.admit(address.parse().unwrap())
    }

    #[test]
    fn an_address_at_its_limit_does_not_affect_another() {
        let admission = admission(10, 2, &[]);

        let first = admit(&admission, "192.0.2.1");
        let second = admit(&admission, "192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(admit(&admission, "192.0.2.1").is_none());
        assert!(admit(&admission, "192.0.2.2").is_some_and(|permit| !permit.is_reserve()));
        drop(first);
        assert!(admit(&admission, "::ffff:192.0.2.1").is_some(), "the same address");
    }

    #[test]
    fn a_wider_network_of_ipv6_has_a_multiple_of_an_address() {
        let admission = admission(100, 1, &[]);
        let subnet = |number: u32| format!("2001:db8:1:{number:x}::1");

        let permits: Vec<_> = (0..4).map(|number| admit(&admission, &subnet(number))).collect();

        assert!(permits.iter().all(Option::is_some));
        assert!(admit(&admission, "2001:db8:1:0:ffff::2").is_none(), "the same /64");
        assert!(admit(&admission, &subnet(4)).is_none(), "another /64 of the /56");
        let others: Vec<_> = (1..4).flat_map(|site| (0..4).map(move |number| site * 256 + number)).collect();
        let others: Vec<_> = others.into_iter().map(|number| admit(&admission, &subnet(number))).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(admit(&admission, &subnet(4 * 256)).is_none(), "another /56 of the /48");
        assert!(admit(&admission, "2001:db8:2::1").is_some(), "another /48");
    }

    #[test]
    fn beyond_the_total_a_reserve_is_left_that_no_address_can_use_up() {
        let admission = admission(1, 10, &[]);
        let _full = admit(&admission, "192.0.2.1");

        let reserved = [admit(&admission, "192.0.2.1"), admit(&admission, "192.0.2.1")];
        let probe = admit(&admission, "192.0.2.2");

        assert!(reserved.iter().flatten().filter(|permit| permit.is_reserve()).count() == 2);
        assert!(probe.as_ref().is_some_and(ConnectionPermit::is_reserve));
        assert!(admit(&admission, "192.0.2.1").is_none() && admit(&admission, "192.0.2.3").is_none());
        drop(probe);
        assert!(admit(&admission, "192.0.2.3").is_some());
    }

    #[test]
    fn proxies_have_no_limit_by_address() {
        let (direct, proxied) = (admission(10, 1, &[]), admission(10, 1, &["10.0.0.0/8"]));

        for (admission, expected) in [(&direct, [true, false]), (&proxied, [true, true])] {
            let permits = [admit(admission, "10.0.0.1"), admit(admission, "10.0.0.1")];
            assert_eq!(permits.each_ref().map(Option::is_some), expected);
        }
        let public = [admit(&proxied, "192.0.2.1"), admit(&proxied, "192.0.2.1")];
        assert_eq!(public.each_ref().map(Option::is_some), [true, false]);
    }

    #[test]
    fn closed_connections_leave_nothing_behind() {
        let admission = admission(100, 4, &[]);

        for number in 0..50 {
            drop(admit(&admission, &format!("2001:db8:{number}::1")));
        }

        assert!(admission.open().full.is_empty());
    }
}
