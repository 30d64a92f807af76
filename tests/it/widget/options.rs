//! Options that change while the chat is there, and the place of the chat in the page.

use serde_json::{Value, json};

use super::Guest;
use super::scene::Scene;
use crate::support::server::ASSISTANT;

/// A site whose page has the script in its head, and no chat yet.
async fn start() -> Guest {
    let guest = Guest::start().await;
    let tag = format!("<script src=\"{}/widget.js\"></script>", guest.server.url());
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><title>(2) Inbox</title>{tag}</head><body></body></html>"
    );
    guest.page.serve("/", &html);
    guest.browser.visit(&guest.page.url("/")).await;
    guest
}

/// Mounts the chat of the default assistant; `options` are more options.
async fn mount(guest: &Guest, options: &str) -> Value {
    let call = format!("Rejoinder.mount({{ assistant: '{ASSISTANT}', {options} }})");
    guest
        .evaluate(&format!("(() => {{ try {{ {call} }} catch (error) {{ return error.message }} }})()"))
        .await
}

/// The layer, colour and name of the launcher.
async fn launcher(guest: &Guest) -> Value {
    let style = "getComputedStyle(root.querySelector('aside')).zIndex,
        getComputedStyle(root.querySelector('.launcher')).backgroundColor,
        root.querySelector('.launcher').ariaLabel";
    guest.evaluate(&format!("[{style}]")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_option_that_is_undefined_has_its_default() {
    let guest = start().await;
    mount(&guest, "zIndex: 10, accent: '#0000ff', open: undefined, hidden: undefined, variables: null").await;
    assert_eq!(launcher(&guest).await, json!(["10", "rgb(0, 0, 255)", "Open chat"]));
    assert_eq!(guest.browser.count("dialog").await, 0);

    guest.evaluate("Rejoinder.set({ zIndex: 5, accent: '#ff0000', locale: 'de' })").await;
    assert_eq!(launcher(&guest).await, json!(["5", "rgb(255, 0, 0)", "Chat öffnen"]));
    let defaults = "Rejoinder.set({ zIndex: undefined, accent: undefined, locale: undefined })";
    let expected = json!(["2147483000", "rgb(15, 95, 75)", "Open chat"]);
    guest.evaluate(defaults).await;
    assert_eq!(launcher(&guest).await, expected);

    // Also once the chat is loaded. What needs another chat is not changed.
    guest.open().await;
    guest
        .evaluate("Rejoinder.set({ zIndex: 5, accent: '#ff0000', mode: 'inline', assistant: 'ast_none' })")
        .await;
    guest.evaluate(defaults).await;
    guest.click("[data-action=close]").await;
    guest.wait_until("!root.querySelector('dialog').open").await;
    assert_eq!(launcher(&guest).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_in_the_page_is_seen_wherever_the_script_is_and_a_missing_target_is_named() {
    let guest = start().await;
    for mode in ["page", "inline"] {
        assert_eq!(mount(&guest, &format!("mode: '{mode}'")).await, Value::Null);
        guest.wait_until("host.parentElement === document.body && host.offsetHeight > 0").await;
        guest.wait_until_idle().await;
    }

    let message = mount(&guest, "mode: 'inline', target: '#nowhere'").await;
    assert!(message.as_str().is_some_and(|text| text.contains("#nowhere")), "{message}");
    guest.wait_until_idle().await;
    guest
        .evaluate("RejoinderQueue.push(['mount', { assistant: 'x', target: '#nowhere' }], ['destroy'])")
        .await;
    guest.wait_until("host === null").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_is_being_filled_in_keeps_its_values_and_the_focus() {
    let scene = Scene::start().await;
    let guest = &scene.guest;
    guest.visit_path("/form").await;
    guest.click(".launcher").await;
    guest.browser.find("#field-0").await.type_text("Ada").await;

    for option in ["theme: 'dark'", "locale: 'de'", "texts: { formIntro: 'Vorweg' }"] {
        guest.evaluate(&format!("Rejoinder.set({{ {option} }})")).await;
        guest.wait_until("root.activeElement?.id === 'field-0' && root.activeElement.value === 'Ada'").await;
    }
    guest.browser.wait_for_text("[part=form]", "Vorweg").await;
    guest.browser.wait_for_text("[part=submit]", "Chat beginnen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_in_the_title_of_the_site_stays() {
    let guest = start().await;
    mount(&guest, "").await;
    guest.open().await;
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}),
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    guest.evaluate(&hide(true)).await;
    guest.evaluate("Rejoinder.send('Hello')").await;
    guest.wait_until("document.title === '(1) (2) Inbox'").await;
    guest.evaluate(&hide(false)).await;
    guest.wait_until("document.title === '(2) Inbox'").await;
}
