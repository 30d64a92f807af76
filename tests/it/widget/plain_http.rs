//! The chat on a page without TLS, where a browser has neither Web Locks nor `crypto.randomUUID`.

use serde_json::json;

use super::{Guest, human, script_tag_from};
use crate::support::browser::Browser;
use crate::support::gateway::Gateway;
use crate::support::server::ASSISTANT;
use crate::support::wait::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_the_chat_works_and_the_visible_tab_looks_for_messages() {
    let mut guest = Guest::start().await;
    guest.browser = Browser::open_with_host("shop.test").await;
    let browser = &guest.browser;
    let gateway = Gateway::start(&guest.server.url()).await;
    for path in ["/hidden", "/visible"] {
        // The server sees which page has sent a request.
        let referrer = "<meta name=\"referrer\" content=\"unsafe-url\">";
        guest.serve(path, "", &format!("{referrer}{}", script_tag_from(&gateway.url(), ASSISTANT, "")));
    }
    let visit = async |path: &str| {
        browser.set_viewport(1024, 768).await;
        browser.visit(&guest.page.url(path).replace("127.0.0.1", "shop.test")).await;
        browser.find(".launcher").await;
    };
    let looks = |path: &str| {
        let ids = gateway
            .requests("GET", "")
            .into_iter()
            .filter(|request| request.path.contains("/api/conversations/"));
        ids.filter(|request| {
            request.headers.get("referer").is_some_and(|page| page.to_str().unwrap().ends_with(path))
        })
        .count()
    };

    visit("/hidden").await;
    let missing = "[isSecureContext, typeof navigator.locks, typeof crypto.randomUUID]";
    assert_eq!(guest.evaluate(missing).await, json!([false, "undefined", "undefined"]));
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    browser.open_tab().await;
    visit("/visible").await;
    browser.wait_for_text(".log", "A reply of the fake model.").await;
    let before = looks("/hidden");
    human::write(&guest.server, &guest.conversation_id().await, "I am Ada.").await;
    browser.wait_for_text(".log", "I am Ada.").await;
    let first = looks("/visible");
    wait_for("another look", async || (looks("/visible") > first).then_some(())).await;

    assert_eq!(looks("/hidden"), before);
    assert!(gateway.requests("GET", "/events").is_empty());
    let sent = gateway.requests("POST", "/messages");
    let key = sent[0].headers["idempotency-key"].to_str().unwrap();
    assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
}
