use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

const PAGES: [&str; 3] = ["/", "/widget", "/docs"];
/// The pages that load the widget.
const WITH_WIDGET: [&str; 2] = ["/", "/widget"];

async fn send(method: Method, path: &str, if_none_match: Option<&str>) -> Response<Body> {
    send_with(method, path, if_none_match.map(|tags| (header::IF_NONE_MATCH, tags))).await
}

async fn send_with(method: Method, path: &str, more: Option<(header::HeaderName, &str)>) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some((name, value)) = more {
        request = request.header(name, value);
    }
    let router: Router = super::router();
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(bytes(response).await).unwrap()
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
            let has_widget = element == "script" && WITH_WIDGET.contains(&path);
            let own = if has_widget { "'self' " } else { "" };
            assert!(
                policy.contains(&format!("{directive} {own}'sha256-{hash}';")),
                "{path} {directive}: {policy}"
            );
            assert_eq!(html.matches(&format!("\n<{element}>")).count(), 1, "{path} has one {element}");
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
        for reference in ["import(", "import ", "import{"] {
            assert!(!content(&html, "script").contains(reference), "{path} has {reference}");
        }
        let scripts: Vec<_> = html.match_indices("<script async src=\"widget.js\"").collect();
        assert_eq!(scripts.len(), usize::from(WITH_WIDGET.contains(&path)), "{path}");
        assert_eq!(
            html.matches(" src=\"").count() - html.matches(" src=\"${").count(),
            scripts.len(),
            "{path}"
        );
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

/// The largest sizes, compressed, in bytes.
const MAX_LOADER: usize = 3 * 1024;
const MAX_WIDGET: usize = 30 * 1024;

/// The path of the core, as the loader has it.
async fn core_path() -> String {
    let loader = text(send(Method::GET, "/widget.js", None).await).await;
    let (_, rest) = loader.split_once("widget/").unwrap();
    format!("/widget/{}", rest.split_inclusive(".js").next().unwrap())
}

#[tokio::test]
async fn the_files_of_the_widget_are_for_pages_of_any_origin_and_are_cached() {
    let core = core_path().await;
    let immutable = "public, max-age=31536000, immutable";
    let (german, extras) = (core.replace("entry", "texts_de"), core.replace("entry", "extras"));
    for (path, cache) in [
        ("/widget.js", "public, max-age=300"),
        ("/widget.d.ts", "public, max-age=300"),
        (&core, immutable),
        (&german, immutable),
        (&extras, immutable),
        ("/widget/0000000000000000/entry.js", "no-cache"),
    ] {
        let response = send(Method::GET, path, None).await;

        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let content_type = if path == "/widget.d.ts" { "text/plain" } else { "text/javascript" };
        assert_eq!(header_of(&response, header::CONTENT_TYPE), format!("{content_type}; charset=utf-8"));
        assert_eq!(header_of(&response, header::CACHE_CONTROL), cache, "{path}");
        assert_eq!(header_of(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        assert_eq!(response.headers()["cross-origin-resource-policy"], "cross-origin");
        assert_eq!(header_of(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        let etag = header_of(&response, header::ETAG);
        assert_eq!(send(Method::GET, path, Some(&etag)).await.status(), StatusCode::NOT_MODIFIED);
    }
}

#[tokio::test]
async fn the_widget_is_small() {
    let gzip = Some((header::ACCEPT_ENCODING, "gzip, br"));
    let compressed = async |path: &str| {
        let response = send_with(Method::GET, path, gzip.clone()).await;
        assert_eq!(header_of(&response, header::CONTENT_ENCODING), "gzip", "{path}");
        bytes(response).await.len()
    };

    let (loader, core) = (compressed("/widget.js").await, compressed(&core_path().await).await);

    assert!(loader <= MAX_LOADER, "the loader has {loader} bytes");
    assert!(loader + core <= MAX_WIDGET, "the loader and the core have {} bytes", loader + core);
}

#[tokio::test]
async fn the_core_is_one_module_with_its_style_and_one_export() {
    let core = text(send(Method::GET, &core_path().await, None).await).await;

    let exports: Vec<_> = core.match_indices("export").map(|(at, _)| &core[at..]).collect();
    assert!(
        matches!(exports.as_slice(), [only] if only.starts_with("export async function startWidget(")),
        "{exports:?}"
    );
    assert!(core.contains(":host{all:initial;"), "the style sheet is not in its place");
    assert!(!core.contains("import{") && !core.contains("from\""), "a module that is not part of it");
}

#[test]
fn the_demo_page_has_the_assistant_of_the_demo() {
    let assistant = format!("data-assistant=\"{}\"", crate::service::demo::DEMO_ASSISTANT);
    assert!(include_str!("assets/demo.html").contains(&assistant));
    assert!(include_str!("assets/options.js").contains(crate::service::demo::DEMO_ASSISTANT));
}
