//! A page that may not store anything, such as a frame with the attribute `sandbox`.

use serde_json::json;

use super::{Guest, host_page, script_tag};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_works_where_the_browser_refuses_storage_and_locks() {
    let guest = Guest::start().await;
    let html = host_page::html("", &script_tag(&guest.server, ""));
    guest.page.serve_with_policy("/", &html, "sandbox allow-scripts");
    guest.visit().await;
    let lock = "navigator.locks.request('a', () => 1).catch(({ name }) => name)";
    assert_eq!(guest.evaluate(lock).await, json!("SecurityError"));

    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;
}
