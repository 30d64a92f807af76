//! A chat that has its place in the page: where its script does not load, and as the element `<rejoinder-chat>`.

use http::StatusCode;
use serde_json::json;

use super::{Guest, script_tag_from};
use crate::support::gateway::{Action, Gateway, Passage};
use crate::support::server::ASSISTANT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_in_the_page_that_does_not_load_can_be_tried_again() {
    let guest = Guest::start().await;
    let gateway = Gateway::start(&guest.server.url()).await;
    gateway.on(|request: &Passage| {
        let is_core = request.is("GET", "/entry.js");
        if is_core { Action::Refuse(StatusCode::SERVICE_UNAVAILABLE) } else { Action::Pass }
    });
    // An option that is no JSON is named, and does not keep the chat from the visitor.
    let attributes = "data-mode=\"inline\" data-variables=\"{name\"";
    let record = "<script>
        window.warnings = [];
        console.warn = (...words) => window.warnings.push(words.join(' '));
    </script>";
    guest.serve("/", "", &format!("{record}{}", script_tag_from(&gateway.url(), ASSISTANT, attributes)));

    guest.browser.visit(&guest.page.url("/")).await;
    guest.wait_until("root?.textContent === 'The chat did not load. Try again'").await;
    gateway.on(|_: &Passage| Action::Pass);
    guest.evaluate("root.querySelector('button').click()").await;
    guest.wait_until_idle().await;
    guest.wait_until("!root.textContent.includes('The chat did not load.')").await;
    assert_eq!(guest.evaluate("warnings").await, json!(["Rejoinder: variables is not JSON."]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_is_changed_hidden_and_logged_out() {
    let guest = Guest::start().await;
    let tag = format!("<script async src=\"{}/widget.js\"></script>", guest.server.url());
    let element =
        format!("<rejoinder-chat assistant=\"{ASSISTANT}\" identity=\"nonsense\"></rejoinder-chat>");
    guest.serve("/", "", &format!("{element}{tag}"));
    guest.browser.visit(&guest.page.url("/")).await;
    guest.browser.wait_for_text("[part=failure]", "You are not signed in any more.").await;

    // Without the token the visitor is anonymous.
    guest.evaluate("Rejoinder.reset()").await;
    guest.wait_until_idle().await;
    assert_eq!(guest.evaluate("host.hasAttribute('identity')").await, json!(false));
    guest.evaluate("host.setAttribute('identity', 'nonsense')").await;
    guest.browser.wait_for_text("[part=failure]", "You are not signed in any more.").await;
    guest.evaluate("host.removeAttribute('identity')").await;
    guest.wait_until_idle().await;

    guest.evaluate("host.setAttribute('data-title', 'Help')").await;
    guest.browser.wait_for_text(".title", "Help").await;
    guest.evaluate("host.setAttribute('quick-replies', '[\"Where is it?\"]')").await;
    guest.browser.wait_for_text(".chip", "Where is it?").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_in_the_page_that_is_hidden_is_shown_when_it_is_opened() {
    let guest = Guest::start().await;
    let attributes = "data-mode=\"inline\" data-hidden";
    guest.serve("/", "", &script_tag_from(&guest.server.url(), ASSISTANT, attributes));
    guest.browser.visit(&guest.page.url("/")).await;
    guest.wait_until("host?.hidden").await;

    guest.evaluate("Rejoinder.open()").await;
    guest.wait_until("!host.hidden && host.offsetHeight > 0").await;
    guest.wait_until_idle().await;
}
