//! The address by which requests are counted: the peer's, or the one that a trusted proxy reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use ipnet::IpNet;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Peer(pub(in crate::http) SocketAddr);

/// The address of a client. An IPv4 address is never written as an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl Address {
    pub(in crate::http) fn ip(self) -> IpAddr {
        self.0
    }

    /// The networks that its requests count towards, the narrowest first: an IPv4 address itself; of an IPv6 address the /64,
    /// because one client usually has a whole network, and the /56 and /48, because some clients have all of one.
    pub(in crate::http) fn networks(self) -> impl Iterator<Item = IpNet> {
        let lengths: &[u8] = match self.0 {
            IpAddr::V4(_) => &[32],
            IpAddr::V6(_) => &[64, 56, 48],
        };
        let network = move |length: &u8| IpNet::new(self.0, *length).ok();
        lengths.iter().filter_map(network).map(|network| network.trunc())
    }
}

/// Resolves the address that a request comes from.
#[derive(Debug)]
pub(super) struct AddressResolver {
    /// `limits.trusted_proxies`.
    proxies: Arc<[IpNet]>,
    warned: AtomicBool,
}

impl AddressResolver {
    pub(super) fn new(proxies: Arc<[IpNet]>) -> Self {
        Self { proxies, warned: AtomicBool::new(false) }
    }

    /// The peer, unless it is a trusted proxy. Then the rightmost entry of `X-Forwarded-For` that is not a trusted proxy, because
    /// the client may have written all entries to the left of it.
    pub(super) fn resolve(&self, peer: Option<Peer>, headers: &HeaderMap) -> Address {
        let mut address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip().to_canonical());
        let forwarded = headers.get_all("x-forwarded-for");
        if !self.is_proxy(address) {
            if forwarded.iter().next().is_some() && is_private(address) {
                self.warn_once(address);
            }
            return address.into();
        }
        // A value that is not text counts as one entry that is not an address, where the walk ends.
        let values = forwarded.iter().rev().map(|value| value.to_str().unwrap_or_default());
        for entry in values.flat_map(|text| text.rsplit(',')) {
            let Some(previous) = parse(entry.trim()) else { break };
            address = previous;
            if !self.is_proxy(address) {
                break;
            }
        }
        address.into()
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        contains(&self.proxies, address)
    }

    fn warn_once(&self, peer: IpAddr) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "a proxy seems to be in front (X-Forwarded-For from a private address), but limits.trusted_proxies does not \
                 contain its address: all of its clients are limited as one"
            );
        }
    }
}

/// With or without a port, as proxies write it.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Whether one of the networks contains the address.
pub(in crate::http) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of a request from `peer` with these values of `X-Forwarded-For`, behind proxies in 10.0.0.0/8 and `fd00::/8`.
    fn resolve(peer: &str, forwarded: &[&[u8]]) -> String {
        let proxies: [IpNet; 2] = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", http::HeaderValue::from_bytes(value).unwrap());
        }
        let peer = Peer(SocketAddr::new(peer.parse().unwrap(), 4000));
        AddressResolver::new(Arc::new(proxies)).resolve(Some(peer), &headers).0.to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_not_a_trusted_proxy_is_the_client() {
        let client = "203.0.113.7";

        assert_eq!(resolve("10.0.0.1", &[b"6.6.6.6, 203.0.113.7"]), client);
        assert_eq!(resolve("10.0.0.1", &[b"6.6.6.6", b"203.0.113.7:51000"]), client);
        assert_eq!(resolve("10.0.0.1", &[b"6.6.6.6, 203.0.113.7, 10.0.0.9,10.9.9.9"]), client);
        assert_eq!(resolve("10.0.0.1", &[b"10.0.0.8, 203.0.113.7", b"10.0.0.9"]), client);
        assert_eq!(resolve("::ffff:10.0.0.1", &[b"203.0.113.7"]), client);
        assert_eq!(resolve("10.0.0.1", &[b"::ffff:203.0.113.7"]), client);
        assert_eq!(resolve("fd00::1", &[b"[2001:db8::9]:443"]), "2001:db8::9");
    }

    #[test]
    fn a_peer_that_is_not_a_trusted_proxy_cannot_choose_its_address() {
        assert_eq!(resolve("203.0.113.7", &[b"6.6.6.6"]), "203.0.113.7");
        assert_eq!(resolve("192.168.0.1", &[b"6.6.6.6"]), "192.168.0.1");
        assert_eq!(resolve("203.0.113.7", &[b"6.6.6.6, 10.0.0.9"]), "203.0.113.7");
    }

    #[test]
    fn an_entry_that_is_not_an_address_hides_those_to_its_left() {
        assert_eq!(resolve("10.0.0.1", &[b"6.6.6.6, garbage"]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &[b"6.6.6.6, garbage, 10.0.0.9"]), "10.0.0.9");
        assert_eq!(resolve("10.0.0.1", &[b"6.6.6.6", b"\xff, 10.0.0.9"]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &[b"10.0.0.7, 10.0.0.8"]), "10.0.0.7");
    }

    #[test]
    fn an_ipv6_address_counts_towards_three_networks_and_an_ipv4_address_towards_itself() {
        let networks = |text: &str| -> Vec<String> {
            let address = Address::from(text.parse::<IpAddr>().unwrap());
            address.networks().map(|network| network.to_string()).collect()
        };

        assert_eq!(
            networks("2001:db8:1:2aff:3::4"),
            ["2001:db8:1:2aff::/64", "2001:db8:1:2a00::/56", "2001:db8:1::/48"]
        );
        assert_eq!(networks("203.0.113.7"), ["203.0.113.7/32"]);
        assert_eq!(networks("::ffff:203.0.113.7"), ["203.0.113.7/32"]);
    }
}
