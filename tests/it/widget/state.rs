//! What survives a reload, and what the tabs of a browser share.

use serde_json::json;

use super::{Guest, human, script_tag_from};
use crate::support::gateway::{Action, Gateway};
use crate::support::script::Gate;
use crate::support::server::ASSISTANT;
use crate::support::wait::wait_for;

/// A guest whose page has the chat of a gateway to the server.
async fn start() -> (Guest, Gateway) {
    let guest = Guest::start().await;
    let gateway = Gateway::start(&guest.server.url()).await;
    guest.serve("/", "", &script_tag_from(&gateway.url(), ASSISTANT, ""));
    (guest, gateway)
}

/// Shows the page in a window in which a chat that was open opens by itself.
async fn visit(guest: &Guest) {
    guest.browser.set_viewport(1024, 768).await;
    guest.visit().await;
}

/// Waits until this many streams of events have been opened, of which one is open.
async fn wait_for_streams(gateway: &Gateway, opened: usize) {
    let look = async || {
        let open = gateway.open_requests("GET", "/events");
        (open == 1 && gateway.requests("GET", "/events").len() == opened).then_some(())
    };
    wait_for(&format!("{opened} streams of events, of which one is open"), look).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_survives_a_reload_and_tabs_share_it_and_one_stream_of_events() {
    let (guest, gateway) = start().await;
    let browser = &guest.browser;
    visit(&guest).await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    browser.find("#message").await.type_text("Half a thou").await;
    let (conversation, messages) = (guest.stored("conversation").await, guest.messages().await);

    browser.reload().await;
    let has_draft = "root?.querySelector('dialog[open] #message')?.value === 'Half a thou'";
    guest.wait_until(has_draft).await;
    guest.wait_for_messages(&messages).await;
    assert_eq!(guest.stored("conversation").await, conversation);
    wait_for_streams(&gateway, 2).await;
    browser.find("#message").await.click().await;

    // Another tab continues the draft, and its message appears in the first.
    let first = browser.tab().await;
    let second = browser.open_tab().await;
    visit(&guest).await;
    guest.wait_until(has_draft).await;
    guest.wait_for_messages(&messages).await;
    guest.say("ght").await;
    guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 3").await;
    guest.wait_until_idle().await;
    let messages = guest.messages().await;
    browser.switch_to(&first).await;
    guest.wait_for_messages(&messages).await;
    guest.wait_until("root.querySelector('#message').value === ''").await;
    wait_for_streams(&gateway, 2).await;

    // The stream ends with its tab; another one opens it.
    let con = guest.conversation_id().await;
    browser.close_tab().await;
    browser.switch_to(&second).await;
    wait_for_streams(&gateway, 3).await;
    human::write(&guest.server, &con, "I am Ada.").await;
    browser.wait_for_text(".log", "I am Ada.").await;

    // Over HTTP/1.1 a browser opens six connections to a server.
    let mut tabs = vec![second];
    for _ in 0..6 {
        tabs.push(browser.open_tab().await);
        visit(&guest).await;
        browser.wait_for_text(".log", "I am Ada.").await;
    }
    guest.say("Hello from the seventh tab").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    human::write(&guest.server, &con, "Good bye.").await;
    browser.wait_for_text(".log", "Good bye.").await;
    let messages = guest.messages().await;
    for tab in &tabs {
        browser.switch_to(tab).await;
        guest.wait_for_messages(&messages).await;
    }
    wait_for_streams(&gateway, 3).await;
    assert_eq!(guest.server.query_number("select count(*) from turns").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_begin_at_once_share_one_conversation_which_has_the_messages_of_both() {
    let (guest, gateway) = start().await;
    let browser = &guest.browser;
    let gate = Gate::closed();
    let closed = gate.clone();
    gateway.on(move |request| {
        let begins = request.is("POST", "/api/conversations");
        if begins { Action::Hold(closed.clone()) } else { Action::Pass }
    });
    let conversations = "select count(*) from conversations";
    let before = guest.server.query_number(conversations).await;
    guest.visit().await;
    let first = browser.tab().await;
    browser.open_tab().await;
    guest.visit().await;

    browser.evaluate("Rejoinder.send('One');").await;
    let second = browser.tab().await;
    browser.switch_to(&first).await;
    browser.evaluate("Rejoinder.send('Two');").await;
    // One begins, the other waits for it.
    guest.wait_until("navigator.locks.query().then(({ pending }) => pending.length === 1)").await;
    let begun = async || (gateway.requests("POST", "/api/conversations").len() == 1).then_some(());
    wait_for("a conversation", begun).await;
    gate.open();

    for tab in [&first, &second] {
        browser.switch_to(tab).await;
        guest.wait_until("root.querySelectorAll('.entry.visitor').length === 2").await;
        guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 3").await;
        guest.wait_until_idle().await;
    }
    assert_eq!(guest.server.query_number(conversations).await, before + 1);
    let sent = guest.server.messages(&guest.conversation_id().await).await;
    let mut texts: Vec<_> =
        sent.iter().filter(|sent| sent["sender_type"] == "user").map(|sent| &sent["text"]).collect();
    texts.sort_by_key(ToString::to_string);
    assert_eq!(texts, [&json!("One"), &json!("Two")]);
}
