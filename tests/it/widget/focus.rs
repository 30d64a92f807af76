//! Where the focus is when what had it has gone, and when a page is loaded.

use super::scene::Scene;

const IN_FIELD: &str = "root.activeElement?.id === 'message'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_focus_stays_in_the_chat_and_is_not_taken_from_a_page_that_is_loaded() {
    let scene = Scene::start().await;
    let guest = &scene.guest;

    // A form that is sent.
    guest.visit_path("/form").await;
    guest.click(".launcher").await;
    guest.browser.find("#field-0").await.type_text("Ada").await;
    guest.click("[part=submit]").await;
    guest.wait_until_idle().await;
    guest.wait_until(IN_FIELD).await;

    // Buttons that go.
    guest.visit().await;
    guest.open().await;
    scene.fail().await;
    guest.click("[data-action=retry]").await;
    guest.wait_until(IN_FIELD).await;
    guest.browser.find("[data-action=retry]").await;
    scene.ask_for_prices().await;
    scene.finish().await;
    guest.evaluate("(root.querySelector('.chat .scroll').scrollTop = 0)").await;
    guest.click(".to-end:not([hidden])").await;
    guest.wait_until("root.activeElement?.className === 'scroll'").await;

    // The chat opens by itself.
    guest.browser.reload().await;
    guest.wait_until("root?.querySelector('dialog[open] .entry') != null").await;
    guest.wait_until_idle().await;
    guest.wait_until("root.activeElement === null && document.activeElement === document.body").await;
}
