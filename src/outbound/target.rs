//! Checks of the text of a URL, before a name is resolved.

use url::{Host, Position, Url};

use super::AllowHosts;
use super::address::is_public;
use super::error::UrlError;

/// A URL whose text passed the checks.
#[derive(Debug)]
pub(super) struct Target {
    pub url: Url,
    /// The host is allowed by configuration, whatever it resolves to.
    pub allowed: bool,
}

/// Checks a URL when it is configured: a URL that fails here is refused at every request. `allow` holds the lists
/// that apply to the workspace. A template is checked as it is (`https://a.example/{id}`): braces pass in path and
/// query, never in scheme, host or port.
pub fn check_url(url: &str, allow: &[&AllowHosts]) -> Result<Url, UrlError> {
    parse(url, allow).map(|target| target.url)
}

pub(super) fn parse(text: &str, allow: &[&AllowHosts]) -> Result<Target, UrlError> {
    let url = Url::parse(text).map_err(|_unreadable| UrlError::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    if url.host_str().is_none_or(|host| host.contains(['{', '}'])) {
        return Err(UrlError::Malformed);
    }
    let listed = allow.iter().any(|hosts| hosts.contains(&url));
    match literal_address(&url) {
        None => Ok(Target { url, allowed: listed }),
        // reqwest does not call the resolver for a literal address: this is the only check.
        Some(address) if is_public(address) => Ok(Target { url, allowed: false }),
        Some(_) if listed && is_canonical(text, &url) => Ok(Target { url, allowed: true }),
        Some(_) => Err(UrlError::NotPublic),
    }
}

fn literal_address(url: &Url) -> Option<std::net::IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// `http://2130706433/` parses to `http://127.0.0.1/`, but its spelling differs from the allowed one.
fn is_canonical(text: &str, url: &Url) -> bool {
    let parsed = &url[..Position::AfterHost];
    let (Some(start), Some(rest)) = (text.get(..parsed.len()), text.get(parsed.len()..)) else {
        return false;
    };
    // `127.0.0.1.` starts with `127.0.0.1`.
    start.eq_ignore_ascii_case(parsed) && (rest.is_empty() || rest.starts_with([':', '/', '?', '#']))
}

#[cfg(test)]
mod tests {
    use super::{AllowHosts, UrlError, check_url};

    fn check(url: &str) -> Result<String, UrlError> {
        let allow = AllowHosts::parse(["127.0.0.1:9000", "[::1]", "crm.internal"]).unwrap();
        check_url(url, &[&AllowHosts::default(), &allow]).map(String::from)
    }

    #[test]
    fn public_hosts_and_names_pass_and_are_normalised() {
        assert_eq!(check("HTTPS://Shop.Example:443/a?b#c"), Ok("https://shop.example/a?b#c".into()));
        assert_eq!(check("http://8.8.8.8/"), Ok("http://8.8.8.8/".into()));
        assert_eq!(check("http://localhost/"), Ok("http://localhost/".into()), "the resolver decides");
    }

    #[test]
    fn each_refusal_says_why() {
        assert_eq!(check("shop.example/a"), Err(UrlError::Malformed));
        assert_eq!(check("http://"), Err(UrlError::Malformed));
        assert_eq!(check("ftp://shop.example/"), Err(UrlError::Scheme));
        assert_eq!(check("file:///etc/passwd"), Err(UrlError::Scheme));
        assert_eq!(check("https://key@shop.example/"), Err(UrlError::UserInfo));
        assert_eq!(check("https://:key@shop.example/"), Err(UrlError::UserInfo));
        assert_eq!(check("http://10.0.0.7/"), Err(UrlError::NotPublic));
    }

    #[test]
    fn an_allowed_address_passes() {
        for url in ["http://127.0.0.1:9000/x", "HTTP://127.0.0.1:9000/x", "http://[::1]:1/"] {
            assert!(check(url).is_ok(), "{url}");
        }
        assert_eq!(check("http://127.0.0.1:9001/"), Err(UrlError::NotPublic));
    }

    #[test]
    fn a_template_passes_where_its_braces_follow_the_host() {
        assert!(check("https://shop.example/{id}?q={{city}}").is_ok());
        for template in
            ["https://{host}/", "https://a.{zone}/", "{url}", "{s}://a.example", "http://a:{port}/"]
        {
            assert_eq!(check(template), Err(UrlError::Malformed), "{template}");
        }
        assert_eq!(check("https://{{user}}@shop.example/"), Err(UrlError::UserInfo));
    }
}
