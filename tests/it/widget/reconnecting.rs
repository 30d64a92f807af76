//! The chat when its connection breaks, or the server restarts.

use http::StatusCode;
use serde_json::json;

use super::{Guest, human, script_tag_from};
use crate::support::gateway::{Action, Gateway, Passage};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::server::{ASSISTANT, Setup};

/// Lets the chat try to connect without a pause, which may be longer than a test waits.
async fn connect_now(guest: &Guest) {
    let is_connected =
        "dispatchEvent(new Event('online')) && root.querySelector('.strip').textContent !== 'Reconnecting…'";
    guest.wait_until(is_connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_interruption_the_messages_and_the_status_are_read_again() {
    let guest = Guest::start().await;
    let link = Proxy::start(&guest.server.url()).await;
    guest.serve("/", "", &script_tag_from(link.url(), ASSISTANT, ""));
    guest.visit().await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;
    let con = guest.conversation_id().await;

    // The end of typing and the new status come to nobody.
    human::types(&guest.server, &con, true).await;
    guest.browser.wait_for_text(".human-typing", "Someone is typing…").await;
    link.set(LinkState::Down);
    guest.browser.wait_for_text(".strip", "Reconnecting…").await;
    human::types(&guest.server, &con, false).await;
    human::change(&guest.server, &con, &json!({ "ai_enabled": false })).await;
    link.set(LinkState::Up);
    connect_now(&guest).await;
    guest.browser.wait_for_text(".strip", "A person will answer here.").await;
    guest.browser.wait_for_text(".note", "The assistant is paused.").await;
    guest.wait_until("root.querySelector('.human-typing').hidden").await;

    // A message comes while the server is away.
    let Guest { browser, page, server, db } = guest;
    let paused = server.pause().await;
    browser.wait_for_text(".strip", "Reconnecting…").await;
    let server = paused.start(&db, Setup::default().system_clock()).await;
    human::write(&server, &con, "I am Ada.").await;
    human::change(&server, &con, &json!({ "ai_enabled": true })).await;
    link.lead_to(&[&server.url()]);
    let guest = Guest { browser, page, server, db };
    connect_now(&guest).await;
    guest.browser.wait_for_text(".log", "I am Ada.").await;
    guest.wait_until("root.querySelector('.strip').hidden").await;
    guest.say("Thank you").await;
    guest.wait_until("root.querySelectorAll('.entry.assistant .prose').length === 3").await;
    guest.wait_until_idle().await;

    let sent = guest.server.messages(&con).await;
    let sent: Vec<_> = sent.iter().map(|message| message["text"].clone()).collect();
    assert_eq!(guest.messages().await, json!(sent));
    assert_eq!(sent.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_person_arrives_while_the_server_refuses_streams() {
    let guest = Guest::start().await;
    let gateway = Gateway::start(&guest.server.url()).await;
    gateway.on(|request: &Passage| {
        if request.is("GET", "/events") {
            Action::Refuse(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            Action::Pass
        }
    });
    guest.serve("/", "", &script_tag_from(&gateway.url(), ASSISTANT, ""));
    guest.visit().await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A reply of the fake model.").await;

    human::write(&guest.server, &guest.conversation_id().await, "I am Ada.").await;
    connect_now(&guest).await;
    guest.browser.wait_for_text(".log", "I am Ada.").await;
    assert_eq!(guest.evaluate("root.querySelector('.strip').textContent").await, json!(""));
    assert!(gateway.requests("GET", "/events").len() > 1);
}
