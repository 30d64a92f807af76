//! Name resolution that refuses a name with any private address. The client connects to the checked addresses, so a
//! second, different DNS response has no effect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_public;
use super::error::UrlError;

/// Looks up the addresses of a name.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The checking resolver. It never sees literal addresses: `target` checks those.
#[derive(Clone)]
pub(super) struct PublicResolver {
    lookup: Lookup,
    is_public: fn(IpAddr) -> bool,
}

impl PublicResolver {
    /// Uses the resolver of the system.
    pub(super) fn system() -> Self {
        let lookup =
            |name: String| async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed();
        Self { lookup: Arc::new(lookup), is_public }
    }

    /// Uses another resolver and another definition of public, because tests have no public address.
    #[cfg(test)]
    pub(super) fn with_lookup(lookup: Lookup, is_public: fn(IpAddr) -> bool) -> Self {
        Self { lookup, is_public }
    }
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { lookup, is_public } = self.clone();
        Box::pin(async move {
            let found = lookup(name.as_str().to_owned()).await?;
            require_public(&found, is_public)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// One private address refuses the whole name. Filtering would let the owner of the name choose, attempt by attempt,
/// which address is used.
fn require_public(found: &[SocketAddr], is_public: fn(IpAddr) -> bool) -> Result<(), UrlError> {
    if found.iter().all(|address| is_public(address.ip())) { Ok(()) } else { Err(UrlError::NotPublic) }
}

#[cfg(test)]
mod tests {
    use super::{UrlError, is_public, require_public};

    #[test]
    fn one_bad_address_refuses_the_whole_name() {
        let good = "93.184.215.14:0".parse().unwrap();
        let bad = "[::1]:0".parse().unwrap();

        assert_eq!(require_public(&[good], is_public), Ok(()));
        assert_eq!(require_public(&[good, bad], is_public), Err(UrlError::NotPublic));
    }
}
