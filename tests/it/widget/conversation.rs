//! A conversation as a visitor has it, from the form to the list of earlier ones.

use serde_json::{Value, json};

use super::{Guest, human, script_tag};
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::script::Gate;
use crate::support::server::Setup;

const TOOLS: &str = "tools = [\"availability\", \"booking\", \"cancelling\", \"orders\", \"notes\"]";

/// The default assistant with suggestions and a form.
fn with_form(text: &str) -> String {
    let widget = "
[assistants.widget]
quick_replies = [\"Where is my order?\", \"What does it cost?\"]
form = [
    { variable = \"name\", label = \"Your name\", required = true },
    { variable = \"mail\", label = \"Your e-mail\", type = \"email\" },
]";
    text.replace(TOOLS, &format!("{TOOLS}\n{widget}")).replace(
        "visitor_variables = { name = { max_length = 80 } }",
        "visitor_variables = { name = { max_length = 80 }, mail = {} }",
    )
}

/// The rating of the newest message, as the server has it.
async fn rating(guest: &Guest, con: &str) -> Value {
    guest.server.messages(con).await.last().unwrap()["feedback"]["rating"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_begins_a_conversation_with_suggestions_calls_and_ratings() {
    let guest = Guest::start_with(Setup::default().workspace(|text| with_form(&text))).await;
    let conversations = "select count(*) from conversations";
    let before = guest.server.query_number(conversations).await;
    guest.browser.set_viewport(1024, 768).await;
    guest.visit().await;
    guest.click(".launcher").await;

    // The form: what is missing or wrong is said, and nothing is sent.
    guest.browser.wait_for_text("[part=form]", "Your name").await;
    guest.click("[part=submit]").await;
    guest.browser.wait_for_text("#field-0-error", "Please fill in this field.").await;
    guest.browser.find("#field-1").await.type_text("ada").await;
    guest.click("[part=submit]").await;
    guest.browser.wait_for_text("#field-1-error", "Please enter an e-mail address").await;
    assert_eq!(guest.server.query_number(conversations).await, before);
    guest.browser.find("#field-0").await.type_text("Ada").await;
    guest.browser.find("#field-1").await.type_text("@example.com").await;
    guest.click("[part=submit]").await;
    guest.browser.wait_for_text(".log", "Hello Ada!").await;
    guest.wait_until_idle().await;
    let con = guest.conversation_id().await;
    let read = guest.server.get(&format!("/v1/conversations/{con}")).await.json();
    assert_eq!(read["data"]["variables"], json!({ "name": "Ada", "mail": "ada@example.com" }));

    // A suggestion is sent. The call is shown while it runs, and its result, in words.
    let (calling, answering) = (Gate::closed(), Gate::closed());
    let call = ToolCall::new(
        "check_calendar_availability",
        &json!({ "start_date": "2030-01-07", "end_date": "2030-01-11" }),
    );
    guest.server.model.script().queue([
        Reply::tool_calls([call]).gated_by(&calling),
        Reply::text("The first half.\n\nThe second half.").paused_by(&answering),
    ]);
    assert_eq!(guest.browser.count(".chip").await, 2);
    guest.click(".chip").await;
    guest.browser.wait_for_text(".entry.visitor", "Where is my order?").await;
    guest.browser.find(".send[data-state=stop]").await;
    guest.browser.find(".entry.assistant .waiting").await;
    assert_eq!(guest.browser.count(".chip").await, 0);
    calling.open();
    guest.browser.wait_for_text("[part=tools]", "Looked for free times").await;
    guest.browser.wait_for_text(".log", "The first half.").await;
    assert!(!guest.browser.find(".log").await.text().await.contains("The second half."));
    assert_eq!(guest.evaluate("root.querySelector('[role=log]').ariaBusy").await, json!("true"));
    answering.open();
    guest.wait_for_reply("The second half.").await;
    assert!(!guest.browser.find("[part=tools]").await.text().await.contains("check_calendar"));
    guest.evaluate("Rejoinder.set({ tools: 'hidden' })").await;
    guest.wait_until("root.querySelector('[part=tools]') === null").await;
    guest.evaluate("Rejoinder.set({ tools: 'details' })").await;
    let function = "root.querySelector('.call summary code')?.textContent === 'check_calendar_availability'";
    guest.wait_until(function).await;

    // A rating is given, changed, and taken back.
    let last = "[...root.querySelectorAll('.entry.assistant')].at(-1)";
    let pressed = |up: bool, down: bool| {
        format!(
            "['up', 'down'].map((name) => {last}.querySelector(`[data-rating=${{name}}]`).ariaPressed).join() === '{up},{down}'"
        )
    };
    let rate = async |name: &str, up: bool, down: bool, stored: Value| {
        guest.evaluate(&format!("{last}.querySelector('[data-rating={name}]').click()")).await;
        guest.wait_until(&pressed(up, down)).await;
        let look = async || (rating(&guest, &con).await == stored).then_some(());
        crate::support::wait::wait_for("the rating", look).await;
    };
    rate("up", true, false, json!("up")).await;
    rate("down", false, true, json!("down")).await;
    guest.browser.reload().await;
    guest.wait_until_idle().await;
    guest.wait_until(&pressed(false, true)).await;
    rate("down", false, false, Value::Null).await;
    assert_eq!(guest.server.events("message.feedback").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_takes_over_and_the_visitor_finds_earlier_conversations() {
    let guest = Guest::start().await;
    guest.browser.set_viewport(1024, 768).await;
    guest.visit().await;
    guest.open().await;
    guest.say("I want a refund.").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let con = guest.conversation_id().await;

    // A person takes over, types, writes, and hands back.
    human::change(&guest.server, &con, &json!({ "ai_enabled": false })).await;
    guest.browser.wait_for_text(".strip", "A person will answer here.").await;
    guest.browser.wait_for_text("[data-note=ai_paused]", "The assistant is paused.").await;
    human::types(&guest.server, &con, true).await;
    guest.browser.wait_for_text(".human-typing", "Someone is typing…").await;
    human::types(&guest.server, &con, false).await;
    guest.wait_until("root.querySelector('.human-typing').hidden").await;
    human::types(&guest.server, &con, true).await;
    human::write(&guest.server, &con, "I am Ada.").await;
    guest.browser.wait_for_text(".entry.agent", "I am Ada.").await;
    guest.browser.wait_for_text(".entry.agent", "Team member").await;
    guest.wait_until("root.querySelector('.human-typing').hidden").await;
    guest.say("Thank you, Ada.").await;
    guest.wait_until("root.querySelectorAll('.entry.visitor:not(.sending)').length === 2").await;
    guest.wait_until_idle().await;
    assert_eq!(guest.browser.count("[part=failure], .waiting").await, 1, "that of the typing is hidden");
    human::change(&guest.server, &con, &json!({ "ai_enabled": true })).await;
    guest.browser.wait_for_text("[data-note=ai_resumed]", "The assistant is answering again.").await;
    guest.wait_until("root.querySelector('.strip').hidden").await;
    guest.say("And you?").await;
    guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 3").await;
    guest.wait_until_idle().await;
    assert_eq!(guest.server.query_number("select count(*) from turns").await, 2);

    // The conversation ends, and the next begins.
    human::change(&guest.server, &con, &json!({ "ended": true })).await;
    guest.browser.wait_for_text(".dock .ending", "This conversation has ended.").await;
    let first = guest.messages().await;
    guest.click(".ending [data-action=new]").await;
    guest.wait_until("root.querySelectorAll('.entry').length === 1").await;
    guest.say("Something else").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let (second, messages) = (guest.stored("conversation").await, guest.messages().await);
    assert_ne!(guest.conversation_id().await, con);

    // The list of this browser has both, and one can go back and forth.
    guest.browser.reload().await;
    guest.wait_until_idle().await;
    guest.click("[data-action=conversations]").await;
    guest.wait_until("root.querySelectorAll('[data-conversation]').length === 2").await;
    let list = guest.browser.find("[part=conversations]").await.text().await;
    assert!(list.contains("Current") && list.contains("Ended"), "{list}");
    guest.click("[data-conversation]:not([aria-current])").await;
    guest.wait_for_messages(&first).await;
    assert!(guest.browser.find(".dock .ending").await.text().await.contains("This conversation has ended."));
    guest.click("[data-action=conversations]").await;
    guest.click(&format!("[data-conversation={second}]")).await;
    guest.wait_for_messages(&messages).await;
    guest.click("[data-action=conversations]").await;
    guest.click("[data-action=back]").await;
    guest.wait_until_idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_seen_is_counted_and_makes_no_sound_unless_the_site_wants_it() {
    let guest = Guest::start().await;
    let count_sounds = "<script>
        window.sounds = 0;
        window.AudioContext = class extends AudioContext { constructor() { super(); window.sounds += 1; } };
    </script>";
    let listen = "window.unread = [];
        Rejoinder.on('unread', ({ count }) => unread.push(count));
        window.titles = [];
        const note = () => titles.push(document.title);
        new MutationObserver(note).observe(document.querySelector('title'), { childList: true });";
    let page = |attributes: &str| format!("{count_sounds}{}", script_tag(&guest.server, attributes));
    guest.serve("/", "", &page(""));
    guest.serve("/sound", "", &page("data-sound"));
    guest.browser.set_viewport(1024, 768).await;
    guest.visit().await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let con = guest.conversation_id().await;

    // Closed.
    guest.click("[data-action=close]").await;
    human::write(&guest.server, &con, "One").await;
    human::write(&guest.server, &con, "Two").await;
    guest.browser.wait_for_text(".badge", "2").await;
    assert_eq!(guest.evaluate("root.querySelector('.launcher').ariaLabel").await, json!("Open chat, 2 new"));
    guest.browser.reload().await;
    guest.browser.wait_for_text(".badge", "2").await;
    guest.browser.evaluate(listen).await;
    guest.open().await;
    guest.wait_until("root.querySelector('.badge') === null").await;
    assert_eq!(guest.evaluate("[unread, document.title, sounds]").await, json!([[0], "Shop", 0]));

    // In another tab.
    let tab = guest.browser.tab().await;
    guest.browser.open_tab().await;
    guest.browser.set_viewport(1024, 768).await;
    guest.visit_path("/sound").await;
    guest.browser.wait_for_text(".log", "Two").await;
    guest.click("[data-action=close]").await;
    human::write(&guest.server, &con, "Three").await;
    guest.browser.wait_for_text(".badge", "1").await;
    guest.wait_until("sounds === 1").await;
    assert_eq!(guest.evaluate("document.title").await, json!("Shop"));
    // The tab in the background has shown it in its title.
    guest.browser.switch_to(&tab).await;
    guest.browser.wait_for_text(".log", "Three").await;
    guest.wait_until("document.title === 'Shop'").await;
    let seen = guest.evaluate("[titles, unread, sounds]").await;
    assert_eq!(seen, json!([["(1) Shop", "Shop"], [0, 1, 0], 0]));
}
