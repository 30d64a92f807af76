//! The demo page while a reply is written. The model stops in the middle of its text until the test lets it continue.

use rejoinder::service::demo::DEMO_FILE;
use serde_json::{Value, json};

use super::{MESSAGES, stored};
use crate::support::browser::Browser;
use crate::support::db::TestDb;
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

/// The newest message of the assistant.
const LAST: &str = ".log .entry.assistant:last-of-type";

/// The lines of [`long_text`].
const LINES: usize = 200;

/// A text whose lines are paragraphs.
fn text_of(lines: usize) -> String {
    (1..=lines).map(|line| format!("Line {line} of the reply.")).collect::<Vec<_>>().join("\n\n")
}

/// A text whose first half is longer than a screen.
fn long_text() -> String {
    text_of(LINES)
}

struct Chat {
    browser: Browser,
    server: TestServer,
    /// Lets the model continue.
    gate: Gate,
    _db: TestDb,
}

impl Chat {
    async fn open() -> Self {
        let chat = Self::start().await;
        chat.visit(&chat.server.url()).await;
        chat
    }

    /// Starts the server, whose model answers with the long text.
    async fn start() -> Self {
        let db = store::sqlite().await;
        let server = Setup::default().workspace(|_| DEMO_FILE.to_owned()).system_clock().start(&db).await;
        let gate = Gate::closed();
        let closed = gate.clone();
        server
            .model
            .script()
            .respond_with(move |_: &ModelRequest| Reply::text(&long_text()).paused_by(&closed));
        Self { browser: Browser::open().await, server, gate, _db: db }
    }

    async fn visit(&self, url: &str) {
        self.browser.visit(url).await;
        self.browser.wait_for_text(".log", "I am the front desk").await;
    }

    async fn say(&self, text: &str) {
        self.browser.find("#message").await.type_text(text).await;
        self.browser.find(".send").await.click().await;
    }

    /// Waits for the first half of the long text, and checks that there is no more.
    async fn wait_for_half(&self) {
        let shown = self.browser.wait_for_text(LAST, "Line 90 of the reply.").await;
        assert!(!shown.contains("Line 150 of the reply."), "{shown}");
    }

    async fn wait_for_end(&self) {
        self.browser.wait_for_text(LAST, &format!("Line {LINES} of the reply.")).await;
        self.wait_until_idle().await;
    }

    async fn wait_until_idle(&self) {
        let look = async || (self.state().await == json!(["false", "Send"])).then_some(());
        wait_for("the end of the turn", look).await;
    }

    /// The value of an expression, in which `root` is the shadow root of the chat.
    async fn evaluate(&self, expression: &str) -> Value {
        let script =
            format!("const root = document.querySelector('rejoinder-chat').shadowRoot; return {expression};");
        self.browser.evaluate(&script).await
    }

    /// Whether the log is busy, and what the button does.
    async fn state(&self) -> Value {
        self.evaluate("[root.querySelector('.log').ariaBusy, root.querySelector('.send').ariaLabel]").await
    }

    /// Waits until the region that is read out contains this text.
    async fn wait_for_announcement(&self, text: &str) {
        let look = async || {
            let announced = self.evaluate("root.querySelector('[role=status]').textContent").await;
            announced.as_str()?.contains(text).then_some(())
        };
        wait_for(&format!("the announcement {text:?}"), look).await;
    }

    async fn messages(&self) -> Value {
        self.browser.evaluate(MESSAGES).await
    }

    /// The distance of the newest message from the top of what is shown of the log.
    async fn top(&self) -> f64 {
        let top = |css: &str| format!("root.querySelector('{css}').getBoundingClientRect().top");
        let distance = self.evaluate(&format!("{} - {}", top(LAST), top(".scroll"))).await;
        distance.as_f64().unwrap()
    }

    async fn scroll_position(&self) -> Value {
        self.evaluate("root.querySelector('.scroll').scrollTop").await
    }

    async fn wait_for_log_end(&self) {
        let left = "[root.querySelector('.scroll')].map((log) => log.scrollHeight - log.clientHeight - log.scrollTop)[0]";
        let look = async || (self.evaluate(left).await.as_f64()? < 40.0).then_some(());
        wait_for("the end of the log", look).await;
    }

    /// Checks that the long text is shown once, by one turn and one call of the model.
    async fn assert_is_shown_once(&self) {
        let paragraphs = format!("root.querySelectorAll('{LAST} .prose p').length");
        assert_eq!(self.evaluate(&paragraphs).await, json!(LINES));
        assert_eq!(self.server.query_number("select count(*) from turns").await, 1);
        assert_eq!(self.server.model.calls().all().len(), 1);
    }

    /// The messages as the widget API lists them.
    async fn history(&self) -> Vec<Value> {
        let uuid = self.browser.evaluate(&stored("conversation")).await;
        let path = format!("/api/conversations/{}", uuid.as_str().unwrap());
        let listed = self.server.request("GET", &path).send().await.json();
        listed["history"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_appears_as_it_is_written_and_is_announced_when_it_is_complete() {
    let chat = Chat::open().await;

    chat.say("Tell me all.").await;
    chat.wait_for_half().await;
    let busy = chat.state().await;
    chat.wait_for_announcement("The assistant is answering.").await;
    chat.gate.open();
    chat.wait_for_end().await;
    let shown = chat.messages().await;
    chat.wait_for_announcement("Line 200 of the reply.").await;
    chat.browser.reload().await;
    chat.browser.wait_for_text(LAST, "Line 1 of the reply.").await;

    assert_eq!(busy, json!(["true", "Stop"]));
    assert_eq!(chat.messages().await, shown);
    chat.assert_is_shown_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_reply_is_kept_as_far_as_it_was_written() {
    let chat = Chat::open().await;

    chat.say("Tell me all.").await;
    chat.wait_for_half().await;
    chat.browser.find(".send").await.click().await;
    chat.browser.wait_for_text(LAST, "Stopped.").await;
    let shown = chat.messages().await;
    let history = chat.history().await;
    chat.browser.reload().await;
    chat.browser.wait_for_text(LAST, "Stopped.").await;

    let reply = history.last().unwrap();
    assert_eq!(reply["stopped"], json!(true), "{reply}");
    assert!(long_text().starts_with(reply["content"].as_str().unwrap()), "{reply}");
    assert_eq!(chat.messages().await, shown);
    assert_eq!(chat.state().await, json!(["false", "Send"]));
    assert_eq!(chat.server.query_number("select count(*) from turns where state = 'completed'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_reloaded_in_the_middle_shows_the_whole_reply_once() {
    let chat = Chat::open().await;

    chat.say("Tell me all.").await;
    chat.wait_for_half().await;
    chat.browser.reload().await;
    chat.wait_for_half().await;
    chat.gate.open();
    chat.wait_for_end().await;

    chat.assert_is_shown_once().await;
    assert_eq!(chat.browser.evaluate(&stored("pending")).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_page_of_the_conversation_shows_the_reply_that_is_written() {
    let chat = Chat::open().await;

    chat.say("Tell me all.").await;
    chat.wait_for_half().await;
    // As if the message had been sent elsewhere.
    let remove = "Object.keys(localStorage).filter((key) => key.endsWith('::pending')).forEach((key) => localStorage.removeItem(key));";
    chat.browser.evaluate(remove).await;
    chat.browser.reload().await;
    chat.wait_for_half().await;
    chat.gate.open();
    chat.wait_for_end().await;

    chat.assert_is_shown_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_the_middle_is_resumed_without_doubling_the_text() {
    let chat = Chat::start().await;
    let link = Proxy::start(&chat.server.url()).await;
    chat.visit(link.url()).await;

    chat.say("Tell me all.").await;
    chat.wait_for_half().await;
    link.set(LinkState::Down);
    chat.browser.wait_for_text(".strip", "Reconnecting…").await;
    link.set(LinkState::Up);
    chat.gate.open();
    chat.wait_for_end().await;

    chat.assert_is_shown_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_stays_where_the_reader_is() {
    let chat = Chat::open().await;
    let script = chat.server.model.script();
    script.queue((1..=12).map(|number| Reply::text(&format!("A short reply, number {number}."))));
    for number in 1..=12 {
        chat.say("Hello").await;
        chat.browser.wait_for_text(LAST, &format!("A short reply, number {number}.")).await;
        chat.wait_until_idle().await;
        chat.wait_for_log_end().await;
    }

    // More than a screen at once is shown from its beginning.
    chat.say("Tell me all.").await;
    chat.wait_for_half().await;
    let top = chat.top().await;
    let before = chat.scroll_position().await;
    chat.gate.open();
    chat.wait_for_end().await;

    assert!((0.0..300.0).contains(&top), "{top}");
    assert_eq!(chat.scroll_position().await, before);
    chat.browser.find(".to-end").await.click().await;
    chat.wait_for_log_end().await;
    assert_eq!(chat.evaluate("root.querySelector('.to-end').hidden").await, json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_outgrows_the_screen_is_read_from_its_beginning() {
    let chat = Chat::open().await;
    // The first half fits on the screen, the whole does not.
    chat.server.model.script().queue([Reply::text(&text_of(16)).paused_by(&chat.gate)]);

    chat.say("Tell me all.").await;
    chat.browser.wait_for_text(LAST, "Line 7 of the reply.").await;
    chat.gate.open();
    chat.browser.wait_for_text(LAST, "Line 16 of the reply.").await;
    chat.wait_until_idle().await;

    let top = chat.top().await;
    assert!((0.0..300.0).contains(&top), "{top}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_shown_before_the_text_that_follows_it() {
    let chat = Chat::open().await;
    let arguments = json!({"start_date": "2030-01-07", "end_date": "2030-01-11"});
    let call = ToolCall::new("check_calendar_availability", &arguments);
    chat.server.model.script().queue([Reply::tool_calls([call])]);

    chat.say("What times are free?").await;
    chat.wait_for_half().await;
    chat.browser.wait_for_text(".call summary", "Looked for free times").await;
    chat.gate.open();
    chat.wait_for_end().await;
}
