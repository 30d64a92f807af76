//! The address by which requests are counted: the peer's, or the one that a trusted proxy reports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Peer(pub(in crate::http) SocketAddr);

/// An IPv4 address, or the /64 network of an IPv6 address, because one client usually owns a whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

impl Address {
    /// The wider network of an IPv6 address.
    pub(in crate::http) fn site(self) -> Option<Ipv6Site> {
        match self.0 {
            IpAddr::V6(v6) => Some(Ipv6Site(v6.to_bits() >> 80)),
            IpAddr::V4(_) => None,
        }
    }
}

/// A /48 network of IPv6 (a site, RFC 6177): its first 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) struct Ipv6Site(u128);

impl From<[u8; 4]> for Address {
    fn from(octets: [u8; 4]) -> Self {
        IpAddr::from(octets).into()
    }
}

/// Resolves the address that a request comes from.
#[derive(Debug)]
pub(in crate::http) struct AddressResolver {
    /// `limits.trusted_proxy_hops`: the number of proxies that append to `X-Forwarded-For`.
    hops: usize,
    warned: AtomicBool,
}

impl AddressResolver {
    pub(in crate::http) fn new(hops: usize) -> Self {
        Self { hops, warned: AtomicBool::new(false) }
    }

    /// The address that the outermost trusted proxy saw; the peer's if no proxy is trusted or the header is too short. Entries
    /// further left were written by the client and are never trusted.
    pub(in crate::http) fn resolve(&self, peer: Option<Peer>, headers: &HeaderMap) -> Address {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let forwarded = headers.get_all("x-forwarded-for");
        if self.hops == 0 {
            if forwarded.iter().next().is_some() && is_private(peer) {
                self.warn_once();
            }
            return peer.into();
        }
        let entries =
            forwarded.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
        let entries: Vec<&str> = entries.map(str::trim).collect();
        let trusted = entries.len().checked_sub(self.hops).and_then(|index| entries.get(index));
        trusted.and_then(|text| parse(text)).unwrap_or(peer).into()
    }

    fn warn_once(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a proxy seems to stand in front (X-Forwarded-For from a private address), but \
                 limits.trusted_proxy_hops is 0: all of its clients are limited as one"
            );
        }
    }
}

/// With or without a port, as proxies write it.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Whether an address is on this machine or in a private network.
pub(in crate::http) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(hops: usize, forwarded: &[&'static str]) -> Address {
        let peer = Peer("10.0.0.1:4000".parse().unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        AddressResolver::new(hops).resolve(Some(peer), &headers)
    }

    #[test]
    fn only_what_a_trusted_proxy_wrote_counts() {
        let peer = Address::from([10, 0, 0, 1]);
        let client = Address::from([203, 0, 113, 7]);

        assert_eq!(resolve(0, &["203.0.113.7"]), peer);
        assert_eq!(resolve(1, &["6.6.6.6, 203.0.113.7"]), client);
        assert_eq!(resolve(1, &["6.6.6.6", "203.0.113.7:51000"]), client);
        assert_eq!(resolve(2, &["6.6.6.6, 203.0.113.7, 10.0.0.9"]), client);
        assert_eq!(resolve(2, &["203.0.113.7"]), peer);
        assert_eq!(resolve(1, &["6.6.6.6, garbage"]), peer);
        assert_eq!(resolve(1, &[]), peer);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());

        assert_eq!(address("2001:db8:1:2:3::4"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::"), address("2001:db8:1:3::"));
        assert_eq!(address("::ffff:203.0.113.7"), Address::from([203, 0, 113, 7]));
        assert_eq!(resolve(1, &["[2001:db8:1:2::9]:443"]), address("2001:db8:1:2::1"));
    }
}
