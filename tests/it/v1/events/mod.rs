//! The event feed: pages, long polls, streams, retention and order.

mod order;
mod pages;
mod retention;
mod snippets;
mod stalls;
mod streaming;
mod waiting;

use serde_json::Value;

use crate::support::http::Response;
use crate::support::server::TestServer;

/// Reads a page of the feed with this query.
async fn page(server: &TestServer, query: &str) -> Response {
    server.get(&format!("/v1/events?{query}")).await
}

/// Its items and its cursor.
fn parts(page: &Response) -> (Vec<Value>, String) {
    assert_eq!(page.status, 200, "{}", page.text());
    let data = &page.json()["data"];
    let next = data["next_cursor"].as_str().expect("never null").to_owned();
    (data["items"].as_array().unwrap().clone(), next)
}

fn cursors(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["cursor"].as_str().unwrap().parse().unwrap()).collect()
}

/// The cursor of the last event.
async fn head(server: &TestServer) -> i64 {
    parts(&page(server, "after=latest").await).1.parse().unwrap()
}
