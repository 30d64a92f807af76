//! A chat that shows everything it has: suggestions, formatted replies, calls of tools, a form and failures.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Guest, human, script_tag_of};
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::script::Gate;
use crate::support::server::Setup;
use crate::support::wait::wait_for;

/// What stands before the scripts of [`Scene::probe`].
const PROBES: &str = include_str!("probes.js");

/// A reply with everything that Markdown has.
pub(super) const MARKDOWN: &str = include_str!("reply.md");

/// An assistant that asks for a name and an address first.
pub(super) const ASKING: &str = "550e8400-e29b-41d4-a716-4466554400bb";

pub(super) struct Scene {
    pub guest: Guest,
    /// Lets the model go on with a reply of prices.
    pub gate: Gate,
}

impl Scene {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// The page `/` has the chat of the default assistant, `/form` that of the one that asks first.
    pub async fn start_with(setup: Setup) -> Self {
        let guest = Guest::start_with(setup.workspace(|text| workspace(&text))).await;
        let gate = Gate::closed();
        let closed = gate.clone();
        guest.server.model.script().respond_with(move |request: &ModelRequest| reply(request, &closed));
        guest.serve("/form", "", &script_tag_of(&guest.server, ASKING, ""));
        guest.browser.set_viewport(1280, 800).await;
        Self { guest, gate }
    }

    /// The value of an expression with the functions of `probes.js`.
    pub async fn probe(&self, expression: &str) -> Value {
        self.guest.browser.evaluate(&format!("{PROBES}\nreturn {expression};")).await
    }

    /// Waits until an expression with the functions of `probes.js` is true.
    pub async fn wait_for_probe(&self, expression: &str) {
        let look = async || (self.probe(expression).await == true).then_some(());
        wait_for(expression, look).await;
    }

    /// Sends a message that is answered with [`MARKDOWN`], and waits for the half of it.
    pub async fn ask_for_prices(&self) {
        self.guest.say("What are the prices?").await;
        self.guest.browser.find(".entry.assistant:last-of-type table").await;
    }

    /// Lets the model finish.
    pub async fn finish(&self) {
        self.gate.open();
        self.guest.wait_until_idle().await;
    }

    /// Sends a message that is answered after a call of a tool.
    pub async fn ask_for_order(&self) {
        self.guest.say("Where is my order?").await;
        self.guest.wait_for_reply("It is on its way.").await;
    }

    /// Sends a message that has no reply.
    pub async fn fail(&self) {
        self.guest.say("Please fail.").await;
        self.guest.browser.find(".failure [data-action=retry]").await;
    }

    /// Switches the AI of the conversation off.
    pub async fn hand_over(&self) {
        self.change(&json!({ "ai_enabled": false })).await;
        self.guest.browser.find(".strip:not([hidden])").await;
    }

    /// A person writes, and goes on typing.
    pub async fn write_as_person(&self) {
        let Guest { server, browser, .. } = &self.guest;
        let con = self.guest.conversation_id().await;
        human::write(server, &con, "I am Ada.").await;
        browser.wait_for_text(".agent", "I am Ada.").await;
        human::types(server, &con, true).await;
        browser.find(".human-typing:not([hidden])").await;
    }

    pub async fn end_conversation(&self) {
        self.change(&json!({ "ended": true })).await;
        self.guest.browser.find(".ending:not([hidden])").await;
    }

    async fn change(&self, fields: &Value) {
        human::change(&self.guest.server, &self.guest.conversation_id().await, fields).await;
    }
}

/// The workspace of most tests with settings of the widget.
fn workspace(text: &str) -> String {
    let variables = "visitor_variables = { name = { max_length = 80 } }";
    let widget = "visitor_variables = { name = { max_length = 80, default = \"there\" } }
        widget = { subtitle = \"Usually answers at once\", quick_replies = [\"Where is my order?\", \"What does it cost?\"] }";
    let tool = "name = \"get_order_status\"";
    let asking = format!(
        "\n[[assistants]]
        slug = \"asking\"
        id = \"{ASKING}\"
        name = \"Asking\"
        system_prompt = \"You help.\"
        visitor_variables = {{ name = {{ default = \"you\" }}, mail = {{ default = \"none\" }} }}
        widget = {{ form = [
            {{ variable = \"name\", label = \"Your name\", required = true }},
            {{ variable = \"mail\", label = \"E-mail\", type = \"email\" }},
        ] }}"
    );
    assert!(text.contains(variables) && text.contains(tool), "{text}");
    text.replacen(variables, widget, 1).replacen(
        tool,
        &format!("{tool}\nlabel = \"Looking up your order\""),
        1,
    ) + &asking
}

/// What the model answers, by a word of the message.
fn reply(request: &ModelRequest, gate: &Gate) -> Reply {
    let prompt = request.prompt().unwrap_or_default();
    if request.messages().last().is_some_and(|message| message["role"] == "tool") {
        Reply::text("It is on its way.")
    } else if prompt.contains("order") {
        Reply::tool_calls([ToolCall::new("get_order_status", &json!({ "order_id": "7" }))])
    } else if prompt.contains("prices") {
        Reply::text(MARKDOWN).paused_by(gate)
    } else if prompt.contains("fail") {
        Reply::error(StatusCode::BAD_REQUEST, "No.")
    } else {
        Reply::text("A **short** reply.")
    }
}
