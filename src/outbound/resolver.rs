//! Name resolution that refuses a name with any address that is not public.
//! The connection is made to the very addresses that were looked at, so a
//! second, different DNS answer has no effect.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_public;
use super::error::UrlRefused;

/// The system's resolver, behind the guard. Literal addresses never come here:
/// `target` looks at those.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            require_public(&found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The whole name is refused for one bad address: picking the good ones would
/// let its owner choose, try by try, which of them is connected to.
fn require_public(found: &[SocketAddr]) -> Result<(), UrlRefused> {
    if found.iter().all(|address| is_public(address.ip())) { Ok(()) } else { Err(UrlRefused::NotPublic) }
}

#[cfg(test)]
mod tests {
    use super::{UrlRefused, require_public};

    #[test]
    fn one_bad_address_refuses_the_whole_name() {
        let good = "93.184.215.14:0".parse().unwrap();
        let bad = "[::1]:0".parse().unwrap();

        assert_eq!(require_public(&[good]), Ok(()));
        assert_eq!(require_public(&[good, bad]), Err(UrlRefused::NotPublic));
    }
}
