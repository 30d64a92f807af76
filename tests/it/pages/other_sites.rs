//! The chat on a page of another site, over plain HTTP: when it waits and tries again, with which key, and when it gives up.

use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};

use super::{MESSAGES, stored};
use crate::support::browser::Browser;
use crate::support::db::TestDb;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::router_server::RouterServer;
use crate::support::server::{ASSISTANT, Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

const HOST: &str = "chat.test";

/// A page with the chat. Its `fetch` answers messages with the `refusals` first, and records their keys and when they were sent.
const PAGE: &str = r##"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Shop</title>
<div id="chat" style="height: 30rem"></div>
<script>
  window.refusals = [];
  window.sent = [];
  const send = window.fetch;
  window.fetch = (url, options) => {
    if (options?.method !== "POST" || !url.endsWith("/messages")) return send(url, options);
    sent.push({ key: options.headers["Idempotency-Key"], at: Date.now() });
    if (refusals.length === 0) return send(url, options);
    const [status, code, after] = refusals.shift();
    const headers = { "Rejoinder-Error": code, "Retry-After": after };
    return Promise.resolve(new Response("{}", { status, headers }));
  };
</script>
<script async src="SCRIPT" data-assistant="ASSISTANT" data-mode="inline" data-target="#chat"></script>
"##;

fn at_host(url: &str) -> String {
    url.trim_end_matches('/').replace("127.0.0.1", HOST)
}

struct Shop {
    browser: Browser,
    _page: RouterServer,
}

impl Shop {
    /// Opens the page. The chat is loaded from the server.
    async fn open(server: &TestServer) -> Self {
        let html = PAGE.replace("SCRIPT", &format!("{}/widget.js", at_host(&server.url())));
        let html = html.replace("ASSISTANT", ASSISTANT);
        let page =
            RouterServer::start(Router::new().route("/", get(move || async move { Html(html) }))).await;
        let browser = Browser::open_with_host(HOST).await;
        browser.visit(&at_host(&page.url())).await;
        Self { browser, _page: page }
    }

    /// The page with the greeting of the chat.
    async fn greeted(server: &TestServer) -> Self {
        let shop = Self::open(server).await;
        shop.browser.wait_for_text(".log", "Hello !").await;
        shop
    }

    async fn say(&self, text: &str) {
        self.browser.find("#message").await.type_text(text).await;
        self.browser.find(".send[data-state=send]").await.click().await;
    }

    async fn click(&self, css: &str) {
        self.browser.find(css).await.click().await;
    }

    /// The conversation's UUID, as the page stores it.
    async fn conversation(&self) -> String {
        self.browser.evaluate(&stored("conversation")).await.as_str().unwrap().to_owned()
    }

    /// Waits until exactly these messages are shown.
    async fn wait_for_messages(&self, expected: &[&str]) {
        let look = async || (self.browser.evaluate(MESSAGES).await == json!(expected)).then_some(());
        wait_for(&format!("the messages {expected:?}"), look).await;
    }

    /// Lets the next messages be refused: with a status, a code and `Retry-After`.
    async fn refuse(&self, refusals: &Value) {
        self.browser.evaluate(&format!("window.refusals = {refusals};")).await;
    }

    /// The keys of the messages that were sent, and when, in milliseconds.
    async fn sent(&self) -> Vec<(String, u64)> {
        let sent = self.browser.evaluate("return sent;").await;
        let each = sent.as_array().unwrap().iter();
        each.map(|sent| (sent["key"].as_str().unwrap().to_owned(), sent["at"].as_u64().unwrap())).collect()
    }
}

/// A server whose model repeats the prompt.
async fn start(setup: Setup) -> (TestDb, TestServer) {
    let db = store::sqlite().await;
    let server = setup.start(&db).await;
    let reply = |request: &ModelRequest| Reply::text(&format!("re: {}", request.prompt().unwrap()));
    server.model.script().respond_with(reply);
    (db, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_conversation_offers_another() {
    // The greeting, a message and its reply.
    let setup = Setup::default().with_limits().env("REJOINDER_LIMITS__MESSAGES_PER_CONVERSATION", "3");
    let (_db, server) = start(setup).await;
    let shop = Shop::greeted(&server).await;
    shop.say("Hello").await;
    shop.wait_for_messages(&["Hello !", "Hello", "re: Hello"]).await;
    let first = shop.conversation().await;

    shop.say("Again").await;
    shop.browser.wait_for_text(".failure", "This conversation is full.").await;
    shop.click(".failure button").await;
    shop.wait_for_messages(&["Hello !"]).await;
    // The text is in the field of the new conversation.
    shop.click(".send[data-state=send]").await;

    shop.wait_for_messages(&["Hello !", "Again", "re: Again"]).await;
    assert_ne!(shop.conversation().await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_limit_and_a_failing_server_are_waited_for_with_the_same_key() {
    let (_db, server) = start(Setup::default()).await;
    let shop = Shop::greeted(&server).await;
    shop.refuse(&json!([[429, "limit_reached", 2], [503, "overloaded", 0]])).await;

    shop.say("Hello").await;
    shop.wait_for_messages(&["Hello !", "Hello", "re: Hello"]).await;

    let sent = shop.sent().await;
    assert!(sent.len() == 3 && sent.iter().all(|(key, _)| *key == sent[0].0), "{sent:?}");
    assert!(Duration::from_millis(sent[1].1 - sent[0].1) >= Duration::from_secs(2), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_given_up_keeps_its_key_and_a_failed_one_gets_another() {
    let (_db, server) = start(Setup::default()).await;
    let shop = Shop::greeted(&server).await;
    let away = json!([503, "overloaded", 0]);
    shop.refuse(&json!([away, away, away, [400, "model_timeout", 0]])).await;

    shop.say("Hello").await;
    shop.browser.wait_for_text(".failure[data-code=busy]", "Please try again in a moment.").await;
    shop.click(".failure button").await;
    shop.browser.wait_for_text(".failure[data-code=no_reply]", "There was no reply.").await;
    shop.click(".failure button").await;
    shop.wait_for_messages(&["Hello !", "Hello", "re: Hello"]).await;

    let keys: Vec<_> = shop.sent().await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys[..4].iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_ne!(keys[4], keys[0], "the server repeats a definite answer for the same key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_limit_is_shown_and_not_waited_for() {
    let (_db, server) = start(Setup::default()).await;
    let shop = Shop::greeted(&server).await;
    // A limit of the day or of spending refills at midnight, for all conversations of the workspace.
    shop.refuse(&json!([[429, "limit_reached", 60], [429, "limit_reached", 7200]])).await;

    shop.say("Hello").await;
    shop.browser.wait_for_text(".failure[data-code=limit]", "Try again in").await;
    shop.say("And now").await;
    shop.browser.wait_for_text(".failure[data-code=no_credit]", "Please try again later.").await;

    assert_eq!(shop.sent().await.len(), 2);
    assert!(server.model.calls().all().is_empty());
}
