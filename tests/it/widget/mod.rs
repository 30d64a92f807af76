//! The chat as a guest on a page of another origin, in a real browser.

mod accessibility;
mod announcements;
mod calls;
mod conversation;
mod devices;
mod elements;
mod failures;
mod figures;
mod focus;
mod host_page;
mod human;
mod identified;
mod leaks;
mod loading;
mod looks;
mod options;
mod plain_http;
mod policies;
mod reconnecting;
mod sandbox;
mod scene;
mod state;

use serde_json::Value;

use self::host_page::HostPage;
use crate::support::browser::Browser;
use crate::support::db::TestDb;
use crate::support::server::{ASSISTANT, Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

/// The newest message of the assistant.
const REPLY: &str = ".log .entry.assistant:last-of-type";

/// A server with an assistant, a site whose page has its chat, and a visitor's browser.
struct Guest {
    pub browser: Browser,
    pub page: HostPage,
    pub server: TestServer,
    pub db: TestDb,
}

impl Guest {
    /// With the workspace of most tests, whose model [`TestServer::model`] scripts.
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// With another configuration. Its clock is the system's.
    pub async fn start_with(setup: Setup) -> Self {
        let db = store::sqlite().await;
        let server = setup.system_clock().start(&db).await;
        let page = HostPage::start().await;
        page.serve("/", &host_page::html("", &script_tag(&server, "")));
        Self { browser: Browser::open().await, page, server, db }
    }

    /// Sets a page of the site, with attributes of its root element.
    pub fn serve(&self, path: &str, attributes: &str, script: &str) {
        self.page.serve(path, &host_page::html(attributes, script));
    }

    /// Shows the site's page and waits for the launcher. The chat is not loaded.
    pub async fn visit(&self) {
        self.visit_path("/").await;
    }

    /// Shows a page that [`HostPage::serve`] has set, and waits for the launcher.
    pub async fn visit_path(&self, path: &str) {
        self.browser.visit(&self.page.url(path)).await;
        self.browser.find(".launcher").await;
    }

    /// Opens the chat with the launcher, and waits for the conversation.
    pub async fn open(&self) {
        self.browser.find(".launcher").await.click().await;
        self.browser.find("dialog[open] .log").await;
        self.wait_until_idle().await;
    }

    /// Writes a message and sends it.
    pub async fn say(&self, text: &str) {
        self.browser.find(".field textarea").await.type_text(text).await;
        self.browser.find(".send").await.click().await;
    }

    /// Waits for a text in the newest message of the assistant, and for the end of the turn.
    pub async fn wait_for_reply(&self, text: &str) -> String {
        self.browser.wait_for_text(REPLY, text).await;
        self.wait_until_idle().await;
        self.browser.find(REPLY).await.text().await
    }

    /// Waits until the conversation is shown and no reply is being made.
    pub async fn wait_until_idle(&self) {
        let is_idle = "root.querySelector('.screen.chat:not([hidden]) [role=log]')?.ariaBusy === 'false'
            && root.querySelector('.send').dataset.state === 'send'";
        self.wait_until(is_idle).await;
    }

    /// Waits until an expression is true. In it, `host` is the element of the chat and `root` its shadow root.
    pub async fn wait_until(&self, expression: &str) {
        let look = async || (self.evaluate(expression).await == true).then_some(());
        wait_for(expression, look).await;
    }

    /// The value of an expression, in which `host` is the element of the chat and `root` its shadow root.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let script = format!(
            "const host = document.querySelector('rejoinder-chat'); const root = host?.shadowRoot; return {expression};"
        );
        self.browser.evaluate(&script).await
    }

    /// Clicks the first element of a selector.
    pub async fn click(&self, css: &str) {
        self.browser.find(css).await.click().await;
    }

    /// The texts of all messages that are shown.
    pub async fn messages(&self) -> Value {
        self.evaluate("[...root.querySelectorAll('.bubble, .prose')].map((text) => text.textContent)").await
    }

    /// Waits until exactly these messages are shown, as [`Self::messages`] returns them.
    pub async fn wait_for_messages(&self, expected: &Value) {
        let look = async || (self.messages().await == *expected).then_some(());
        wait_for(&format!("the messages {expected}"), look).await;
    }

    /// What the widget has stored under a name for the anonymous visitor; null if nothing.
    pub async fn stored(&self, name: &str) -> Value {
        let script = format!(
            "const key = Object.keys(localStorage).find((key) => key.startsWith('rejoinder:') && key.endsWith('::{name}'));
             return key ? JSON.parse(localStorage.getItem(key)) : null;"
        );
        self.browser.evaluate(&script).await
    }

    /// The `con_` id of the conversation that the browser has stored.
    pub async fn conversation_id(&self) -> String {
        let uuid = self.stored("conversation").await;
        self.server.conversation_id(uuid.as_str().expect("a conversation is stored")).await
    }
}

/// The script tag for the default assistant; `attributes` are more of its attributes.
fn script_tag(server: &TestServer, attributes: &str) -> String {
    script_tag_of(server, ASSISTANT, attributes)
}

/// The same for another assistant.
fn script_tag_of(server: &TestServer, assistant: &str, attributes: &str) -> String {
    script_tag_from(&server.url(), assistant, attributes)
}

/// The same for a server that is reached at another URL.
fn script_tag_from(url: &str, assistant: &str, attributes: &str) -> String {
    let source = format!("{}/widget.js", url.trim_end_matches('/'));
    format!("<script async src=\"{source}\" data-assistant=\"{assistant}\" {attributes}></script>")
}
