use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

const PAGES: [&str; 2] = ["/", "/docs"];

async fn send(method: Method, path: &str, if_none_match: Option<&str>) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(tags) = if_none_match {
        request = request.header(header::IF_NONE_MATCH, tags);
    }
    let router: Router = super::router();
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The text of the first element of that name.
fn content<'a>(html: &'a str, element: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("<{element}>")).unwrap();
    rest.split_once(&format!("</{element}>")).unwrap().0
}

fn header_of(response: &Response<Body>, name: header::HeaderName) -> String {
    response.headers().get(name).map(HeaderValue::to_str).unwrap().unwrap().to_owned()
}

#[tokio::test]
async fn each_page_is_html_with_its_security_headers_and_is_revalidated() {
    for path in PAGES {
        let response = send(Method::GET, path, None).await;

        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header_of(&response, header::CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(header_of(&response, header::CACHE_CONTROL), "no-cache");
        assert_eq!(header_of(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header_of(&response, header::REFERRER_POLICY), "no-referrer");
        assert!(header_of(&response, header::CONTENT_SECURITY_POLICY).contains("frame-ancestors 'none'"));
        assert!(text(response).await.starts_with("<!doctype html>"));
    }
}

#[tokio::test]
async fn the_policy_permits_the_style_and_the_script_that_are_in_the_page_and_no_others() {
    for path in PAGES {
        let response = send(Method::GET, path, None).await;
        let policy = header_of(&response, header::CONTENT_SECURITY_POLICY);
        let html = text(response).await;

        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (directive, element) in [("style-src", "style"), ("script-src", "script")] {
            let hash = STANDARD.encode(Sha256::digest(content(&html, element)));
            assert!(
                policy.contains(&format!("{directive} 'sha256-{hash}';")),
                "{path} {directive}: {policy}"
            );
            assert_eq!(html.matches(&format!("<{element}")).count(), 1, "{path} has one {element}");
        }
        assert!(!html.contains(" style=\""), "an inline style that the policy would block");
    }
}

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    for path in PAGES {
        let html = text(send(Method::GET, path, None).await).await;

        for reference in ["url(", "@import"] {
            assert!(!content(&html, "style").contains(reference), "the style of {path} has {reference}");
        }
        for reference in ["src=\"", " import(", " import "] {
            assert!(!html.contains(reference), "{path} has {reference}");
        }
        let links = html.match_indices("href=\"").map(|(at, found)| &html[at + found.len()..]);
        for link in links {
            assert!(!link.starts_with("http") && !link.starts_with("//"), "{path} links away: {link:.60}");
        }
    }
}

#[tokio::test]
async fn a_client_that_has_the_page_gets_304() {
    for path in PAGES {
        let etag = header_of(&send(Method::GET, path, None).await, header::ETAG);

        for if_none_match in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()]
        {
            let response = send(Method::GET, path, Some(&if_none_match)).await;
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{if_none_match}");
            assert_eq!(header_of(&response, header::ETAG), etag);
            assert!(text(response).await.is_empty());
        }
        let response = send(Method::GET, path, Some("\"other\"")).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_head_is_the_page_without_its_body() {
    let page = text(send(Method::GET, "/", None).await).await;

    let response = send(Method::HEAD, "/", None).await;

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header_of(&response, header::CONTENT_LENGTH), page.len().to_string());
    assert!(text(response).await.is_empty());
}
