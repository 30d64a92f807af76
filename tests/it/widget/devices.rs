//! The chat on telephones and desktops, and for visitors who need large text or no motion.

use serde_json::{Value, json};

use super::scene::Scene;
use crate::support::browser::keys;

/// The panel's state: whether it is modal, what it tells assistive technology, and whether it fills the window.
const PANEL: &str = "[panel.matches(':modal'), panel.ariaModal, \
    ['left', 'top'].every((side) => Math.abs(box('.panel')[side]) < 1) && box('.panel').width === innerWidth && box('.panel').height === innerHeight]";

/// What has the focus: an element of the page, and one of the chat.
const FOCUS: &str = "[document.activeElement.localName, root.activeElement?.className ?? null]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_telephone_the_chat_is_modal_and_readable() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    browser.set_viewport(320, 568).await;
    browser.emulate_media(&[("prefers-reduced-motion", "reduce")]).await;
    scene.guest.visit().await;
    browser.evaluate("document.body.style.minHeight = '3000px';").await;

    scene.guest.open().await;

    assert_eq!(scene.probe(PANEL).await, json!([true, "true", true]));
    // Behind it nothing can be used: neither by keys, nor by a click, nor by scrolling.
    for _ in 0..12 {
        browser.press(keys::TAB).await;
        let focus = scene.probe(FOCUS).await;
        assert!(focus[0] == "rejoinder-chat" || focus[0] == "body", "{focus}");
    }
    let behind = "(document.querySelector('#buy').focus(), [document.activeElement.id, document.elementFromPoint(100, 90).localName, \
                  getComputedStyle(document.documentElement).overflow])";
    assert_eq!(scene.probe(behind).await, json!(["", "rejoinder-chat", "hidden"]));
    scene.ask_for_prices().await;
    scene.finish().await;
    let readable = "[shown('textarea, input').every((field) => parseFloat(getComputedStyle(field).fontSize) >= 16), smallTargets(), cutOff()]";
    assert_eq!(scene.probe(readable).await, json!([true, [], []]));

    browser.press(keys::ESCAPE).await;
    scene.wait_for_probe("!panel.open").await;
    assert_eq!(scene.probe(FOCUS).await, json!(["rejoinder-chat", "launcher"]));
    assert_eq!(scene.probe("document.documentElement.getAttribute('style')").await, Value::Null);

    // The fields of the form, too.
    scene.guest.visit_path("/form").await;
    scene.guest.click(".launcher").await;
    browser.find(".form input").await;
    assert_eq!(scene.probe(readable).await, json!([true, [], []]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_desktop_the_page_beside_the_chat_stays_usable() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    scene.guest.visit().await;

    scene.guest.open().await;

    assert_eq!(scene.probe(PANEL).await, json!([false, "false", false]));
    assert_eq!(scene.probe(FOCUS).await[0], "rejoinder-chat");
    scene.guest.click("#buy").await;
    assert_eq!(scene.probe("document.activeElement.id").await, "buy");
    scene.guest.click(".field textarea").await;
    browser.press(keys::ESCAPE).await;
    scene.wait_for_probe("!panel.open").await;
    assert_eq!(scene.probe(FOCUS).await, json!(["rejoinder-chat", "launcher"]));
    assert_eq!(scene.probe("root.querySelector('.launcher').ariaExpanded").await, "false");

    // A window that becomes narrow has the modal chat, and back.
    scene.guest.click(".launcher").await;
    browser.set_viewport(500, 700).await;
    scene.wait_for_probe("panel.matches(':modal')").await;
    browser.set_viewport(1280, 720).await;
    scene.wait_for_probe("!panel.matches(':modal') && panel.open").await;
}

/// The edges of the field and of its button lie in the window and in the panel, and there is room for messages above them.
const COMPOSER: &str = "(() => {
    const { top, bottom, left, right } = box('.panel');
    const isInside = (css) => {
        const inner = box(css);
        return inner.top >= Math.max(top, 0) && inner.bottom <= Math.min(bottom, innerHeight) && inner.left >= left && inner.right <= right;
    };
    return ['.field', '.field textarea', '.send', '[data-action=close]'].every(isInside) && box('.scroll').height >= 60;
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_text_fits_and_nothing_moves_for_visitors_who_prefer_that() {
    let scene = Scene::start().await;
    let browser = &scene.guest.browser;
    scene.guest.visit().await;
    scene.guest.open().await;

    // The text size that a visitor sets in the browser.
    let sizes = json!({ "fontSizes": { "standard": 32, "fixed": 26 } });
    browser.devtools("Page.setFontSizes", &sizes).await;
    scene.wait_for_probe("style('.panel').fontSize === '32px'").await;
    for (width, height) in [(1280, 720), (320, 568), (568, 320)] {
        browser.set_viewport(width, height).await;
        scene
            .wait_for_probe(&format!("innerWidth === {width} && innerHeight === {height} && {COMPOSER}"))
            .await;
        assert_eq!(scene.probe("cutOff()").await, json!([]), "{width} px");
    }
    browser.set_viewport(1280, 800).await;

    scene.hand_over().await;
    scene.write_as_person().await;
    scene.wait_for_probe("animations() > 0").await;
    browser.emulate_media(&[("prefers-reduced-motion", "reduce")]).await;
    scene.wait_for_probe("animations() === 0").await;
}
