//! Amounts that are counted by the network of an address, with a bound for each network and one in total.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ipnet::IpNet;

use super::limits::{Address, NETWORK_MULTIPLES};

/// The largest amounts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) total: usize,
    /// Of an IPv4 address or a /64 network of IPv6; wider networks have multiples of it.
    pub(super) per_address: usize,
}

/// The bound that an amount exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Address,
    Total,
}

impl Exceeded {
    /// The value of the label `limit` of metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Total => "total",
        }
    }
}

/// The sums of amounts.
#[derive(Debug, Default)]
pub(super) struct Count {
    total: usize,
    by_network: HashMap<IpNet, usize>,
}

impl Count {
    /// Adds an amount if it fits beside what is counted already; alone, any amount fits. An address that is none has no bound.
    pub(super) fn try_add(
        &mut self,
        address: Option<Address>,
        amount: usize,
        bounds: Bounds,
    ) -> Result<(), Exceeded> {
        let fits = |count: usize, bound: usize| count == 0 || count.saturating_add(amount) <= bound;
        let has_room = |(network, multiple): (IpNet, u32)| {
            let bound = bounds.per_address.saturating_mul(usize::try_from(multiple).unwrap_or(usize::MAX));
            self.by_network.get(&network).is_none_or(|count| fits(*count, bound))
        };
        if !networks(address).zip(NETWORK_MULTIPLES).all(has_room) {
            return Err(Exceeded::Address);
        }
        if !fits(self.total, bounds.total) {
            return Err(Exceeded::Total);
        }
        self.add(address, amount);
        Ok(())
    }

    /// Adds an amount whatever is counted already.
    pub(super) fn add(&mut self, address: Option<Address>, amount: usize) {
        self.total += amount;
        for network in networks(address) {
            *self.by_network.entry(network).or_default() += amount;
        }
    }

    /// Removes an amount that was added. A network without any leaves no memory behind.
    pub(super) fn remove(&mut self, address: Option<Address>, amount: usize) {
        self.total = self.total.saturating_sub(amount);
        for network in networks(address) {
            if let Entry::Occupied(mut count) = self.by_network.entry(network) {
                *count.get_mut() -= amount;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0 && self.by_network.is_empty()
    }
}

fn networks(address: Option<Address>) -> impl Iterator<Item = IpNet> {
    address.into_iter().flat_map(Address::networks)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const BOUNDS: Bounds = Bounds { total: 10, per_address: 4 };

    fn address(last: u8) -> Address {
        std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    #[test]
    fn amounts_fit_beside_others_up_to_the_bounds() {
        let mut count = Count::default();

        assert_eq!(count.try_add(Some(address(1)), 3, BOUNDS), Ok(()));
        assert_eq!(count.try_add(Some(address(1)), 2, BOUNDS), Err(Exceeded::Address));
        assert_eq!(count.try_add(Some(address(2)), 4, BOUNDS), Ok(()));
        assert_eq!(count.try_add(Some(address(3)), 4, BOUNDS), Err(Exceeded::Total));
        assert_eq!(count.try_add(None, 3, BOUNDS), Ok(()));
        count.remove(Some(address(1)), 3);
        assert_eq!(count.try_add(Some(address(3)), 3, BOUNDS), Ok(()));
    }

    #[test]
    fn an_amount_beyond_the_bounds_fits_alone() {
        let mut count = Count::default();

        assert_eq!(count.try_add(Some(address(1)), 100, BOUNDS), Ok(()));
        assert_eq!(count.try_add(Some(address(1)), 1, BOUNDS), Err(Exceeded::Address));
        assert_eq!(count.try_add(Some(address(2)), 1, BOUNDS), Err(Exceeded::Total));
        count.remove(Some(address(1)), 100);
        assert!(count.is_empty());
    }
}
