//! Failures as a visitor sees them: in their own words, and with a way on.

use http::StatusCode;
use serde_json::json;

use super::{Guest, REPLY, human, script_tag_from};
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::gateway::{Action, Gateway, Passage};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::script::Gate;
use crate::support::server::{ASSISTANT, Setup};

/// Words of the server that are none of a visitor's business.
const INTERNAL: [&str; 7] = ["balance", "top up", "Attempts", "Failed to", "model", "400", "429"];

/// Waits for a failure's code, and returns its text.
async fn failure(guest: &Guest, code: &str) -> String {
    let text = guest.browser.find(&format!("[part=failure][data-code={code}]")).await.text().await;
    assert!(INTERNAL.iter().all(|word| !text.contains(word)), "{text}");
    text
}

/// Lets no event through, and does this with messages.
fn hold_events(gateway: &Gateway, messages: Action) {
    let never = Gate::closed();
    gateway.on(move |request| {
        if request.is("GET", "/events") {
            return Action::Hold(never.clone());
        }
        if request.is("POST", "/messages") { messages.clone() } else { Action::Pass }
    });
}

/// The keys of all messages that were sent.
fn keys(gateway: &Gateway) -> Vec<String> {
    let sent = gateway.requests("POST", "/messages").into_iter();
    sent.map(|request| request.headers["idempotency-key"].to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_can_be_tried_again_and_is_stored_and_charged_once() {
    let guest = Guest::start().await;
    let gateway = Gateway::start(&guest.server.url()).await;
    guest.serve("/", "", &script_tag_from(&gateway.url(), ASSISTANT, ""));

    // The answer is lost each time.
    hold_events(&gateway, Action::CutAnswer);
    guest.visit().await;
    guest.open().await;
    guest.say("Hello").await;
    let text = failure(&guest, "offline").await;
    assert!(text.contains("You are offline.") && text.contains("will not send your message twice"), "{text}");
    hold_events(&gateway, Action::Pass);
    guest.click("[data-action=retry]").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let first_keys = keys(&gateway);
    assert!(first_keys.len() > 1 && first_keys.iter().all(|key| *key == first_keys[0]), "{first_keys:?}");
    let con = guest.conversation_id().await;
    assert_eq!(guest.server.messages(&con).await.len(), 3);
    assert_eq!(guest.server.balance().await, "9.99");
    assert_eq!(guest.browser.count("[part=failure]").await, 0);

    // There will be no reply to this key.
    let script = guest.server.model.script();
    script.respond_with(|_: &ModelRequest| Reply::error(StatusCode::BAD_REQUEST, "No."));
    guest.say("And now?").await;
    let text = failure(&guest, "no_reply").await;
    assert!(text.contains("There was no reply."), "{text}");
    script.respond_with(|_: &ModelRequest| Reply::text("At last."));
    guest.click("[data-action=retry]").await;
    guest.wait_for_reply("At last.").await;
    let next_keys = keys(&gateway).split_off(first_keys.len());
    assert!(next_keys.len() == 2 && next_keys[0] != next_keys[1], "{next_keys:?}");
    assert_eq!(guest.server.balance().await, "9.98");

    // The page does not know of a change until it sends a message.
    human::change(&guest.server, &con, &json!({ "ai_enabled": false })).await;
    guest.say("Is anybody there?").await;
    guest.browser.wait_for_text(".strip", "A person will answer here.").await;
    guest.wait_until_idle().await;
    assert_eq!(guest.browser.count("[part=failure]").await, 0);
    human::change(&guest.server, &con, &json!({ "ended": true })).await;
    guest.say("Hello?").await;
    let text = failure(&guest, "ended").await;
    assert!(text.contains("This conversation has ended."), "{text}");
    guest.click("[part=failure] [data-action=new]").await;
    guest.wait_until("root.querySelectorAll('.entry').length === 1").await;
    guest.wait_until("root.querySelector('#message').value === 'Hello?'").await;
    assert_ne!(guest.conversation_id().await, con);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_when_the_chat_is_opened_can_be_tried_again() {
    let guest = Guest::start().await;
    let link = Proxy::start(&guest.server.url()).await;
    guest.serve("/", "", &script_tag_from(link.url(), ASSISTANT, ""));
    guest.browser.set_viewport(1024, 768).await;
    guest.visit().await;
    let listen = "Rejoinder.on('error', ({ code }) => (window.failed = code));";
    guest.browser.evaluate(listen).await;

    // The script of the chat does not load.
    link.set(LinkState::Down);
    guest.click(".launcher").await;
    guest.browser.wait_for_text("aside [role=status]", "The chat did not load.").await;
    assert_eq!(guest.evaluate("window.failed").await, json!("offline"));
    link.set(LinkState::Up);
    guest.open().await;
    guest.wait_until("root.querySelector('aside [role=status]').textContent === ''").await;

    // The browser has the script, and the conversation does not load.
    let forget_and_visit = async || {
        guest.browser.evaluate("localStorage.clear();").await;
        guest.visit().await;
    };
    forget_and_visit().await;
    guest.open().await;
    forget_and_visit().await;
    link.set(LinkState::Down);
    guest.click(".launcher").await;
    let text = failure(&guest, "offline").await;
    assert!(text.contains("You are offline."), "{text}");
    link.set(LinkState::Up);
    guest.click("[data-action=retry]").await;
    guest.wait_until_idle().await;

    // A message that could not be sent is sent after a reload.
    link.set(LinkState::Down);
    guest.say("Hello").await;
    failure(&guest, "offline").await;
    link.set(LinkState::Up);
    guest.browser.reload().await;
    guest.wait_for_reply("A reply of the fake model.").await;
    assert_eq!(guest.server.query_number("select count(*) from turns").await, 1);
    assert_eq!(guest.browser.count(".entry.visitor").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_an_empty_balance_are_told_in_words_for_visitors() {
    let setup =
        Setup::default().with_limits().env("REJOINDER_LIMITS__PER_CONVERSATION", "2/hour").balance("0.03");
    let guest = Guest::start_with(setup).await;
    guest.visit().await;
    guest.open().await;
    for text in ["One", "Two"] {
        guest.say(text).await;
        guest
            .wait_until(&format!("[...root.querySelectorAll('.bubble')].at(-1)?.textContent === '{text}'"))
            .await;
        guest.wait_until_idle().await;
    }

    guest.say("Three").await;
    let text = failure(&guest, "limit").await;
    assert!(text.contains("That was a lot of messages.") && text.contains("Try again in"), "{text}");
    assert_eq!(guest.evaluate("root.querySelector('[data-action=retry]').disabled").await, json!(true));

    // The message that has failed is the draft of the next conversation.
    guest.click("[data-action=new]").await;
    guest.wait_until("root.querySelectorAll('.entry').length === 1").await;
    guest.wait_until("root.querySelector('#message').value === 'Three'").await;
    guest.click(".send").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    guest.say("Four").await;
    let text = failure(&guest, "no_credit").await;
    assert!(text.contains("The assistant is not available at the moment."), "{text}");
    guest.click("[data-action=new]").await;
    guest.browser.find(".screen.centre[data-code=no_credit]").await;
    let text = failure(&guest, "no_credit").await;
    assert!(text.contains("Please try again later."), "{text}");
    assert_eq!(guest.server.balance().await, "0.00");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_has_failed_is_in_view_and_is_there_after_a_reload() {
    let guest = Guest::start().await;
    guest.browser.set_viewport(1024, 520).await;
    guest.visit().await;
    guest.open().await;
    for text in ["One", "Two", "Three"] {
        guest.say(text).await;
        guest.browser.wait_for_text(".entry.visitor:nth-last-of-type(2)", text).await;
        guest.wait_until_idle().await;
    }
    let script = guest.server.model.script();
    script.respond_with(|_: &ModelRequest| Reply::error(StatusCode::BAD_REQUEST, "No."));

    guest.say("Four").await;
    failure(&guest, "no_reply").await;
    let in_view = "root.querySelector('[data-action=retry]').getBoundingClientRect().bottom
        <= root.querySelector('.chat .scroll').getBoundingClientRect().bottom";
    guest.wait_until(in_view).await;
    guest.browser.reload().await;
    failure(&guest, "no_reply").await;
    guest.wait_until(in_view).await;
    assert_eq!(guest.browser.count(".entry.visitor").await, 4);

    script.respond_with(|_: &ModelRequest| Reply::text("At last."));
    guest.click("[data-action=retry]").await;
    guest.wait_for_reply("At last.").await;
    guest.browser.reload().await;
    guest.browser.wait_for_text(REPLY, "At last.").await;
    assert_eq!(guest.browser.count("[part=failure]").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_and_no_failing_conversation_locks_a_visitor_out() {
    let guest = Guest::start().await;
    let gateway = Gateway::start(&guest.server.url()).await;
    guest.serve("/", "", &script_tag_from(&gateway.url(), ASSISTANT, ""));
    guest.browser.set_viewport(1024, 768).await;
    guest.visit().await;
    guest.open().await;
    let replies = [">".repeat(3000), "- ".repeat(3000) + "x", "**".repeat(3000) + "x" + &"**".repeat(3000)];
    for (at, reply) in replies.into_iter().enumerate() {
        guest.server.model.script().queue([Reply::text(&reply)]);
        guest.say("Hello").await;
        guest
            .wait_until(&format!("root.querySelectorAll('.entry.assistant .meta').length === {}", at + 2))
            .await;
        guest.wait_until_idle().await;
    }
    guest.browser.reload().await;
    guest.wait_until_idle().await;
    assert_eq!(guest.browser.count(".entry").await, 7);
    guest.say("And now?").await;
    guest.wait_for_reply("A reply of the fake model.").await;

    // The server cannot read the conversation.
    let con = guest.conversation_id().await;
    gateway.on(|request: &Passage| {
        let is_history = request.path.starts_with("/api/conversations/") && !request.is("GET", "/events");
        if request.method == "GET" && is_history {
            Action::Refuse(StatusCode::INTERNAL_SERVER_ERROR)
        } else {
            Action::Pass
        }
    });
    guest.browser.reload().await;
    guest.browser.find(".screen.centre [data-action=retry]").await;
    guest.click(".screen.centre [data-action=new]").await;
    guest.wait_until_idle().await;
    assert_ne!(guest.conversation_id().await, con);
}
