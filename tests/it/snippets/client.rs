//! The client of `docs/widget.md` in a browser, on a page that is not a secure context.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::blocks::of;
use crate::support::browser::Browser;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::router_server::RouterServer;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

/// A host name with which a page is no secure context.
const HOST: &str = "chat.test";

/// Longer than a test takes.
const LONG: Duration = Duration::from_mins(1);

/// The page and its script, for a server at this address. It polls often, and gives up after `patience`.
fn page(server: &str, patience: Duration) -> Router {
    let text = |language| of("docs/widget.md", language)[0].text.clone();
    let script = text("js")
        .replace("http://127.0.0.1:8080", server)
        .replace("interval = 5_000", "interval = 200")
        .replace("patience = 120_000", &format!("patience = {}", patience.as_millis()));
    let html = text("html");
    let script = ([("content-type", "text/javascript")], script);
    Router::new()
        .route("/chat.html", get(move || async move { Html(html) }))
        .route("/chat.js", get(move || async move { script }))
}

fn at_host(url: &str, path: &str) -> String {
    format!("{}{path}", url.replace("127.0.0.1", HOST))
}

/// The page in a browser, for a server at this URL.
async fn open_at(url: &str) -> (Browser, RouterServer) {
    let files = RouterServer::start(page(&at_host(url, ""), LONG)).await;
    let browser = Browser::open_with_host(HOST).await;
    browser.visit(&at_host(&files.url(), "/chat.html")).await;
    (browser, files)
}

/// The page in a browser, with its greeting.
async fn open(server: &TestServer) -> (Browser, RouterServer) {
    let (browser, files) = open_at(&server.url()).await;
    let has_conversation = async || conversation(&browser).await.is_string().then_some(());
    wait_for("a conversation", has_conversation).await;
    (browser, files)
}

/// The conversation's UUID, as the page stores it.
async fn conversation(browser: &Browser) -> Value {
    let read = "const key = Object.keys(localStorage).find((key) => key.endsWith('.conversation'));
                return key ? JSON.parse(localStorage.getItem(key)) : null;";
    browser.evaluate(read).await
}

async fn say(browser: &Browser, text: &str) {
    browser.find("#chat input").await.type_text(text).await;
    send(browser).await;
}

/// Sends the text in the field.
async fn send(browser: &Browser) {
    let is_enabled = async || {
        let state = browser.evaluate("return document.querySelector('#chat form button').disabled").await;
        (state == json!(false)).then_some(())
    };
    wait_for("the button", is_enabled).await;
    browser.find("#chat form button").await.click().await;
}

/// Waits until exactly this text is in a line below the log: `.status` or `.person`.
async fn wait_for_line(browser: &Browser, class: &str, expected: &str) {
    let read = format!("return document.querySelector('#chat {class}').textContent;");
    let look = async || (browser.evaluate(&read).await == json!(expected)).then_some(());
    wait_for(&format!("{expected:?} in {class}"), look).await;
}

/// The text in the field.
async fn draft(browser: &Browser) -> Value {
    browser.evaluate("return document.querySelector('#chat input').value;").await
}

/// The texts of the log's messages.
async fn log(browser: &Browser) -> Vec<Value> {
    let read = "return [...document.querySelectorAll('#chat li')].map((item) => item.textContent);";
    browser.evaluate(read).await.as_array().unwrap().clone()
}

async fn wait_for_log(browser: &Browser, expected: &[&str]) {
    let look = async || {
        let log = log(browser).await;
        // The greeting comes first, if the assistant has one.
        log.ends_with(&expected.iter().map(|text| json!(text)).collect::<Vec<_>>()).then_some(())
    };
    wait_for(&format!("{expected:?} at the end of the log"), look).await;
}

/// Waits until the log has exactly these messages.
async fn wait_for_whole_log(browser: &Browser, expected: &[&str]) {
    let look = async || (log(browser).await == expected).then_some(());
    wait_for(&format!("the log {expected:?}"), look).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_talks_over_plain_http_without_global_names_and_shows_a_human_once() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    server
        .model
        .script()
        .respond_with(|request: &ModelRequest| Reply::text(&format!("re: {}", request.prompt().unwrap())));
    let (browser, _files) = open(&server).await;

    say(&browser, "Hello").await;
    wait_for_log(&browser, &["Hello", "re: Hello"]).await;
    let con = server.conversation_id(conversation(&browser).await.as_str().unwrap()).await;
    let human = json!({"conversation_id": con, "sender_id": "ada", "sender_type": "agent", "text": "I am Ada.", "auto_reply": false});
    server.enqueue(human.to_string()).send().await;
    wait_for_log(&browser, &["Hello", "re: Hello", "I am Ada."]).await;
    say(&browser, "Hello").await;
    wait_for_log(&browser, &["Hello", "re: Hello", "I am Ada.", "Hello", "re: Hello"]).await;

    let state = "return [isSecureContext, String(window.open).includes('native code'), typeof call, typeof load, typeof deliver]";
    assert_eq!(browser.evaluate(state).await, json!([false, true, "undefined", "undefined", "undefined"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_page_was_reloaded_is_answered_once() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    server.model.script().respond_with(move |_: &ModelRequest| Reply::text("Done").gated_by(&reply_gate));
    let (browser, _files) = open(&server).await;

    say(&browser, "Book it").await;
    server.model.calls().wait_for_count(1).await;
    browser.reload().await;
    wait_for_log(&browser, &["Book it"]).await;
    gate.open();
    wait_for_log(&browser, &["Book it", "Done"]).await;

    let con = server.conversation_id(conversation(&browser).await.as_str().unwrap()).await;
    let texts: Vec<_> = server.messages(&con).await.iter().map(|message| message["text"].clone()).collect();
    assert!(texts.ends_with(&[json!("Book it"), json!("Done")]), "{texts:?}");
    assert_eq!(texts.iter().filter(|text| **text == "Book it").count(), 1, "{texts:?}");
    browser.reload().await;
    wait_for_log(&browser, &["Book it", "Done"]).await;
    assert_eq!(server.model.calls().all().len(), 1, "an answered message is not sent again");
}

/// Waits until the field shows this text while it is empty.
async fn wait_for_placeholder(browser: &Browser, expected: &str) {
    let read = "return document.querySelector('#chat input').placeholder;";
    let look = async || (browser.evaluate(read).await == json!(expected)).then_some(());
    wait_for(&format!("the placeholder {expected:?}"), look).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_that_a_conversation_has_ended_and_a_message_starts_another() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let (browser, _files) = open(&server).await;
    let first = conversation(&browser).await;
    let con = server.conversation_id(first.as_str().unwrap()).await;
    let patch = server.request("PATCH", &format!("/v1/conversations/{con}")).bearer(&server.keys.full);
    assert_eq!(patch.json(&json!({ "ended": true })).send().await.status, 200);

    let ended = "This conversation has ended. A message starts a new one.";
    wait_for_placeholder(&browser, ended).await;
    browser.reload().await;
    wait_for_placeholder(&browser, ended).await;
    assert_eq!(conversation(&browser).await, first, "it can still be read");
    say(&browser, "Again").await;

    wait_for_whole_log(&browser, &["Hello !", "Again", "A reply of the fake model."]).await;
    wait_for_placeholder(&browser, "").await;
    assert_ne!(conversation(&browser).await, first);
    assert_eq!(draft(&browser).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_has_reached_its_limit_is_replaced_and_the_text_stays_in_the_field() {
    let db = store::sqlite().await;
    // The greeting, a message and its reply.
    let setup = Setup::default().with_limits().env("REJOINDER_LIMITS__MESSAGES_PER_CONVERSATION", "3");
    let server = setup.start(&db).await;
    let (browser, _files) = open(&server).await;
    say(&browser, "Hello").await;
    wait_for_log(&browser, &["Hello", "A reply of the fake model."]).await;
    let first = conversation(&browser).await;

    say(&browser, "Again").await;
    wait_for_line(&browser, ".status", "This is a new conversation.").await;
    assert_eq!(draft(&browser).await, "Again");
    assert_ne!(conversation(&browser).await, first);
    wait_for_whole_log(&browser, &["Hello !"]).await;
    send(&browser).await;

    wait_for_whole_log(&browser, &["Hello !", "Again", "A reply of the fake model."]).await;
    assert_eq!(draft(&browser).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_reply_failed_can_be_tried_again() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let refusal = Reply::error(StatusCode::BAD_REQUEST, "temperature must be below 2");
    server.model.script().queue([refusal, Reply::text("Here I am.")]);
    let (browser, _files) = open(&server).await;

    say(&browser, "Hello").await;
    browser.wait_for_text("#chat .status", "This did not work.").await;
    assert_eq!(draft(&browser).await, "", "the message is in the log");
    browser.find("#chat .status button").await.click().await;

    wait_for_whole_log(&browser, &["Hello !", "Hello", "Hello", "Here I am."]).await;
    wait_for_line(&browser, ".status", "").await;
    let calls = server.model.calls().all();
    let prompts: Vec<_> = calls.iter().filter_map(|call| call.request.last_text("user")).collect();
    assert_eq!(prompts, ["Hello", "Hello\n\nHello"], "the model reads the failed message, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_whether_a_person_answers_and_which_messages_are_theirs() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let (browser, _files) = open(&server).await;
    let uuid = conversation(&browser).await.as_str().unwrap().to_owned();
    let con = server.conversation_id(&uuid).await;
    let switch = async |route: &str| {
        let path = format!("/api/automate/conversations/{uuid}/{route}");
        let switched = server.request("POST", &path).bearer(&server.keys.full).send().await;
        assert_eq!(switched.status, 200);
    };

    switch("disable-ai").await;
    wait_for_line(&browser, ".person", "A person will answer here.").await;
    let human =
        json!({"conversation_id": con, "sender_id": "ada", "sender_type": "agent", "text": "I am Ada."});
    server.enqueue(human.to_string()).send().await;
    browser.wait_for_text("#chat .agent", "I am Ada.").await;
    say(&browser, "Thanks").await;
    wait_for_line(&browser, ".status", "").await;
    wait_for_line(&browser, ".person", "A person will answer here.").await;
    switch("enable-ai").await;
    wait_for_line(&browser, ".person", "").await;

    wait_for_log(&browser, &["Hello !", "I am Ada.", "Thanks"]).await;
    let agents = browser.evaluate("return document.querySelectorAll('#chat .agent').length;").await;
    assert_eq!(agents, 1, "the assistant's messages look different");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_server_cannot_be_reached_says_so_until_it_can() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    // Its URL ends with a slash, which the client removes.
    let link = Proxy::start(&server.url()).await;
    assert!(link.url().ends_with('/'));
    link.set(LinkState::Down);
    let (browser, _files) = open_at(link.url()).await;

    wait_for_line(&browser, ".status", "Connecting…").await;
    link.set(LinkState::Up);
    wait_for_log(&browser, &["Hello !"]).await;
    wait_for_line(&browser, ".status", "").await;
    link.set(LinkState::Down);
    browser.reload().await;
    wait_for_line(&browser, ".status", "Connecting…").await;
    link.set(LinkState::Up);
    wait_for_log(&browser, &["Hello !"]).await;
    wait_for_line(&browser, ".status", "").await;
}

/// A server that answers messages with the given statuses and `Retry-After`, in turn, and records their keys.
#[derive(Clone, Default)]
struct Failing {
    answers: Arc<Mutex<VecDeque<(u16, u32)>>>,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Failing {
    /// Its address is the page's own. Once the answers are used up, messages are answered.
    async fn open(
        answers: impl IntoIterator<Item = (u16, u32)>,
        patience: Duration,
    ) -> (Self, Browser, RouterServer) {
        let failing = Self::default();
        failing.answers.lock().unwrap().extend(answers);
        let created =
            json!({"status": true, "conversation_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "history": []});
        let history = json!({"status": true, "history": [], "variables": {}, "ai_enabled": true});
        let answering = failing.clone();
        let api = Router::new()
            .route("/api/conversations", post(move || async move { axum::Json(created) }))
            .route("/api/conversations/{uuid}", get(move || async move { axum::Json(history) }))
            .route(
                "/api/conversations/{uuid}/messages",
                post(move |headers: HeaderMap| async move { answering.answer(&headers) }),
            );
        let server = RouterServer::start(page("", patience).merge(api)).await;
        let browser = Browser::open_with_host(HOST).await;
        browser.visit(&at_host(&server.url(), "/chat.html")).await;
        (failing, browser, server)
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        self.requests.lock().unwrap().push((Instant::now(), key));
        let (status, retry_after) = self.answers.lock().unwrap().pop_front().unwrap_or((200, 0));
        let body = if status == 200 {
            json!({"status": true, "message": "Done", "function_calls": []})
        } else {
            json!({"status": false, "error": "It failed."})
        };
        let code = if status == 429 { "limit_reached" } else { "service_unavailable" };
        let headers = [("retry-after", retry_after.to_string()), ("rejoinder-error", code.to_owned())];
        (StatusCode::from_u16(status).unwrap(), headers, axum::Json(body)).into_response()
    }

    async fn wait_for_requests(&self, count: usize) -> Vec<(Instant, String)> {
        let look =
            async || Some(self.requests.lock().unwrap().clone()).filter(|requests| requests.len() >= count);
        wait_for(&format!("{count} requests"), look).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_and_a_failing_server_are_waited_for_with_the_same_key() {
    let (failing, browser, _server) = Failing::open([(429, 2), (503, 0)], LONG).await;

    say(&browser, "Hello").await;
    wait_for_line(&browser, ".status", "Connecting…").await;

    let requests = failing.wait_for_requests(3).await;
    assert!(requests[1].0 - requests[0].0 >= Duration::from_secs(2), "Retry-After");
    assert_eq!(requests[0].1.len(), 32);
    assert!(requests.iter().all(|(_, key)| *key == requests[0].1), "{requests:?}");
    let is_idle = async || {
        let state = "return [document.querySelector('#chat form button').disabled, document.querySelector('#chat .status').textContent]";
        (browser.evaluate(state).await == json!([false, ""])).then_some(())
    };
    wait_for("the end", is_idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_given_up_keeps_its_key_and_a_failed_one_gets_a_new_one() {
    let answers = [(503, 0), (503, 0), (503, 0), (400, 0)];
    let (failing, browser, _server) = Failing::open(answers, Duration::from_secs(4)).await;

    say(&browser, "Hello").await;
    browser.wait_for_text("#chat .status", "Send it again: it will not arrive twice.").await;
    browser.find("#chat form button").await.click().await;
    browser.wait_for_text("#chat .status", "This did not work.").await;
    let failed = failing.wait_for_requests(4).await;
    browser.find("#chat form button").await.click().await;

    let requests = failing.wait_for_requests(failed.len() + 1).await;
    assert!(failed.iter().all(|(_, key)| *key == failed[0].1), "{failed:?}");
    assert_ne!(
        requests[failed.len()].1,
        failed[0].1,
        "the server repeats a definite answer for the same key"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_wait_than_the_patience_is_not_waited_for() {
    // A limit of the day or of spending: it refills at midnight, for all conversations of the workspace.
    let (failing, browser, _server) = Failing::open([(429, 7_200)], LONG).await;

    say(&browser, "Hello").await;
    wait_for_line(&browser, ".status", "This did not work. Please try again later.").await;

    assert_eq!(draft(&browser).await, "Hello");
    assert_eq!(failing.wait_for_requests(1).await.len(), 1);
}
