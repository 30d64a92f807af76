//! The hosts that the configuration allows, whatever their addresses.

use std::collections::HashSet;
use std::net::Ipv6Addr;

use url::{Host, Url};

/// A set of `host` and `host:port` entries. A host without a port is allowed on every port. Names are compared
/// literally and never resolved: `127.0.0.1` does not allow `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowHosts(HashSet<(Host, Option<u16>)>);

/// An entry that is not a `host` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host or host:port (no scheme, path or wildcard)")]
pub struct InvalidAllowHost(String);

impl AllowHosts {
    /// Parses entries such as `crm.internal`, `10.0.0.7:8080` or `[fd00::7]:8080`.
    ///
    /// # Errors
    /// Names the first entry that is not a host.
    pub fn parse<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Result<Self, InvalidAllowHost> {
        let mut hosts = HashSet::new();
        for entry in entries {
            let entry = entry.as_ref().trim();
            hosts.insert(parse_entry(entry).ok_or_else(|| InvalidAllowHost(entry.to_owned()))?);
        }
        Ok(Self(hosts))
    }

    /// The entries, sorted.
    pub fn entries(&self) -> Vec<String> {
        let entry = |(host, port): &(Host, Option<u16>)| match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let mut entries: Vec<_> = self.0.iter().map(entry).collect();
        entries.sort_unstable();
        entries
    }

    /// Whether the set allows the host and port of a URL.
    pub fn contains_host_of(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.contains(&url))
    }

    /// Whether the set allows the host and port of a URL.
    #[must_use]
    pub fn contains(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let host = host.to_owned();
        self.0.contains(&(host.clone(), None)) || self.0.contains(&(host, url.port_or_known_default()))
    }
}

fn parse_entry(entry: &str) -> Option<(Host, Option<u16>)> {
    if let Ok(bare) = entry.parse::<Ipv6Addr>() {
        return Some((Host::Ipv6(bare), None));
    }
    let (host, port) = match entry.rsplit_once(':') {
        // The last colon of `[::1]` is inside the brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
        _ => (entry, None),
    };
    if host.contains('*') {
        return None;
    }
    Some((Host::parse(host).ok()?, port))
}

fn parse_port(text: &str) -> Option<u16> {
    // `u16::from_str` accepts a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::AllowHosts;

    fn allows(entry: &str, url: &str) -> bool {
        AllowHosts::parse([entry]).unwrap().contains(&url.parse().unwrap())
    }

    #[test]
    fn a_host_without_a_port_is_allowed_on_every_port() {
        assert!(allows("crm.internal", "http://crm.internal/"));
        assert!(allows(" CRM.internal ", "https://crm.INTERNAL:8443/x"));
        assert!(allows("::1", "http://[::1]:80/"));
        assert!(allows("[::1]", "http://[0:0::1]:81/"));
        assert!(allows("bücher.example", "http://xn--bcher-kva.example/"));
    }

    #[test]
    fn a_host_with_a_port_is_allowed_on_that_port_only() {
        assert!(allows("crm.internal:80", "http://crm.internal/"));
        assert!(allows("crm.internal:443", "https://crm.internal/"));
        assert!(!allows("crm.internal:80", "https://crm.internal/"));
        assert!(allows("[fd00::7]:8080", "http://[fd00::7]:8080/"));
        assert!(!allows("[fd00::7]:8080", "http://[fd00::7]:8081/"));
    }

    #[test]
    fn no_other_name_is_allowed() {
        assert!(!allows("crm.internal", "http://crm.internal./"));
        assert!(!allows("crm.internal", "http://a.crm.internal/"));
        assert!(!allows("internal", "http://crm.internal/"));
        assert!(!allows("127.0.0.1", "http://localhost/"));
        assert!(!allows("127.0.0.1", "http://[::ffff:127.0.0.1]/"));
    }

    #[test]
    fn an_entry_that_is_not_a_host_is_named() {
        for entry in
            ["", "http://a", "a/b", "a:", "a:0", "a:+1", "a:65536", "a:b", "u@a", "*.a", "[::1", "a b"]
        {
            let error = AllowHosts::parse(["ok.example", entry]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{entry}` is not")), "{error}");
        }
    }
}
