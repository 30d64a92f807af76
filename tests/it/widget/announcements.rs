//! What a screen reader hears of a reply.

use serde_json::json;

use super::REPLY;
use super::scene::Scene;

/// Records what changes in the status region and in the state of the log.
const RECORD: &str = "
    const root = document.querySelector('rejoinder-chat').shadowRoot;
    const record = (css, read, options) => {
        const element = root.querySelector(css);
        const recorded = [read(element)];
        const add = () => recorded.at(-1) !== read(element) && recorded.push(read(element));
        new MutationObserver(add).observe(element, { ...options, childList: true, characterData: true, subtree: true });
        return recorded;
    };
    window.announced = record('.panel [role=status]', (region) => region.textContent, {});
    window.busy = record('[role=log]', (log) => log.ariaBusy, { attributes: true });";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_is_announced_when_it_begins_and_when_it_is_complete() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    scene.guest.visit().await;
    scene.guest.open().await;

    browser.evaluate(RECORD).await;
    scene.ask_for_prices().await;
    scene.wait_for_probe("announced.length === 2").await;
    let halfway = browser.evaluate("return [announced, busy];").await;
    scene.finish().await;

    let answering = "The assistant is answering.";
    assert_eq!(halfway, json!([["", answering], ["false", "true"]]));
    scene.wait_for_probe("announced.length === 3").await;
    let heard = browser.evaluate("return [announced, busy];").await;
    let spoken = heard[0][2].as_str().expect("a third announcement");
    assert_eq!(heard, json!([["", answering, spoken], ["false", "true", "false"]]));
    // All of the reply, in lines, without its buttons.
    let words = format!(
        "[root.querySelector('{REPLY} .prose').cloneNode(true)].map((prose) => {{
            prose.querySelectorAll('.copy').forEach((button) => button.remove());
            return prose.textContent.replace(/\\s/g, '');
        }})[0]"
    );
    let bare: String = spoken.split_whitespace().collect();
    assert_eq!(scene.probe(&words).await, json!(bare));
    assert!(spoken.lines().count() > 5 && spoken.contains("A picture"), "{spoken}");
    // Nothing else speaks: the log is silent, and the launcher's region says only that the chat does not load.
    let regions = "shown('[aria-live]:not([aria-live=off]), [role=status], [role=alert]').map((region) => region.closest('.panel') ? 'panel' : region.textContent)";
    assert_eq!(scene.probe(regions).await, json!(["", "panel"]));

    scene.fail().await;
    // That the assistant is answering may have been announced in the same moment.
    let status = "root.querySelector('.panel [role=status]').textContent";
    scene.wait_for_probe(&format!("{status}.endsWith('There was no reply. Please try again.')")).await;
}
