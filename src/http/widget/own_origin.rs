//! Pages of this server itself, which may talk to every assistant whatever its `allowed_origins` are: browsers enforce who may
//! embed them.

use axum::extract::Request;
use http::header;
use url::Url;

/// Whether a page of this origin is one of the server: the request went to the same authority, or the origin is that of
/// `public_url`, as behind a proxy that changes the `Host` header.
pub(super) fn is_own_origin(origin: &str, request: &Request, public_url: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    // Over HTTP/2 the authority is part of the URI.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(request.uri().authority().map(http::uri::Authority::as_str));
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        || Url::parse(public_url).is_ok_and(|url| url.origin().ascii_serialization() == origin)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_own(origin: &str, uri: &str, host: Option<&str>) -> bool {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        is_own_origin(origin, &request.body(Body::empty()).unwrap(), "https://chat.example/base")
    }

    #[test]
    fn the_authority_of_the_request_or_of_the_public_url_is_that_of_the_server() {
        assert!(is_own("http://127.0.0.1:8080", "/", Some("127.0.0.1:8080")));
        assert!(is_own("https://a.example", "/", Some("A.example")));
        assert!(is_own("https://a.example", "https://a.example/", None));
        assert!(is_own("https://chat.example", "/", Some("backend:8080")));

        for other in ["https://b.example", "https://a.example:8443", "null", "", "http://chat.example"] {
            assert!(!is_own(other, "/", Some("a.example")), "{other}");
        }
        assert!(!is_own("https://a.example", "/", None));
    }
}
