//! The headers that keep browsers and proxies from storing responses and from guessing their type.

use http::HeaderMap;

use super::document::with_names;
use crate::support::db::both_backends;
use crate::support::described::operations;
use crate::support::http::{Request, send_raw};
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;

/// The cache policy and the type policy of a response.
fn policies(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    (text("cache-control"), text("x-content-type-options"))
}

/// Sends a request, and asserts that its response must not be stored. Returns the status.
async fn assert_not_stored(about: &str, request: Request) -> u16 {
    // Only the head is read, because a stream has no end.
    let response = request.open().await;
    let found = policies(response.headers());
    assert_eq!(found, (Some("no-store"), Some("nosniff")), "{about}: {}", response.status());
    response.status().as_u16()
}

both_backends!(
    async fn no_response_of_the_apis_is_stored(db: TestDb) {
        let server = TestServer::start(&db).await;
        let document = server.request("GET", "/openapi.json").send().await.json();

        for (method, path, _) in operations(&document) {
            let path = with_names(path);
            let request = || server.request(&method, &path);
            assert_not_stored(&format!("{method} {path} without a key"), request()).await;
            let keyed = request().bearer(&server.keys.full);
            assert_not_stored(&format!("{method} {path} with a key"), keyed).await;
            assert_not_stored(&format!("PUT {path}"), server.request("PUT", &path)).await;
        }
        let read = |path: &str| server.request("GET", path).bearer(&server.keys.full);
        let history = format!("/api/conversations/{WIDGET}");
        for path in ["/v1/balance", "/v1/events/stream", history.as_str(), "/healthz", "/readyz", "/metrics"]
        {
            assert_eq!(assert_not_stored(path, read(path)).await, 200, "{path}");
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_before_a_handler_is_stored() {
    let db = store::sqlite().await;
    let server = Setup::default()
        .with_limits()
        .env("REJOINDER_LIMITS__PER_ADDRESS", "8/hour")
        .env("REJOINDER_HTTP__BODY_TIMEOUT", "500ms")
        .start(&db)
        .await;
    let link = "/calendars/7c9e6679742540de944be07fc1f90ae7.ics";
    let preflight = || {
        let request = server.request("OPTIONS", "/api/conversations").header("origin", "https://x.example");
        request.header("access-control-request-method", "POST")
    };

    for (status, request) in [
        (404, server.request("GET", "/x")),
        (404, server.request("GET", "/api/x")),
        (404, server.request("GET", "/v1/x")),
        (405, server.request("POST", "/healthz")),
        (405, server.request("PUT", "/api/conversations")),
        (405, server.request("DELETE", "/v1/messages")),
        (401, server.request("GET", "/v1/balance").bearer("sk_x")),
        (401, server.request("GET", "/api/conversations/x").bearer("sk_x")),
        (413, server.enqueue(vec![b' '; 256 * 1024 + 1])),
        (413, server.post_message_body(WIDGET, vec![b' '; 64 * 1024 + 1])),
        (422, server.post_message_body(WIDGET, "{}")),
        (200, preflight()),
        (404, server.request("GET", link)),
    ] {
        assert_eq!(assert_not_stored(&status.to_string(), request).await, status);
    }
    for path in ["/api/conversations/x", link] {
        let mut last = 0;
        for _ in 0..8 {
            last = assert_not_stored(path, server.request("GET", path)).await;
        }
        assert_eq!(last, 429, "{path}");
    }
    let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9";
    let request = format!("{head}\r\nauthorization: Bearer {}\r\n\r\n{{", server.keys.full);
    let late = send_raw(server.address(), request.as_bytes()).await;
    assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
    assert!(late.contains("cache-control: no-store") && late.contains("nosniff"), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_calendar_files_keep_their_own_cache_policy() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let link = server.calendar_link().await;

    for (path, policy) in [("/", "no-cache"), ("/docs", "no-cache"), (link.as_str(), "private, no-cache")] {
        let response = server.request("GET", path).send().await;
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(policies(&response.headers), (Some(policy), Some("nosniff")), "{path}");
        let tag = response.header("etag").unwrap();
        let unchanged = server.request("GET", path).header("if-none-match", tag).send().await;
        assert_eq!(unchanged.status, 304, "{path}");
        assert_eq!(policies(&unchanged.headers), (Some(policy), Some("nosniff")), "{path}");
    }
}
