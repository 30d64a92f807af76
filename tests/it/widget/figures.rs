//! What a visitor waits for on a slow connection. This measures and asserts nothing; `scripts/bench page` prints the table.

use serde_json::json;

use super::Guest;
use super::scene::Scene;

const ROUNDS: usize = 9;

/// Records when the launcher was painted.
const RECORD: &str = "
    const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now()))));
    window.launcher = new Promise((resolve) => {
        new MutationObserver((_, observer) => {
            if (!document.querySelector('rejoinder-chat')?.shadowRoot?.querySelector('.launcher')) return;
            observer.disconnect();
            resolve(painted());
        }).observe(document, { childList: true, subtree: true });
    });
    window.after = async (action, condition) => {
        const start = performance.now();
        const root = document.querySelector('rejoinder-chat').shadowRoot;
        action(root);
        while (!condition(root)) await new Promise(requestAnimationFrame);
        return (await painted()) - start;
    };";

/// The milliseconds of a part: its name and a script that returns them.
const PARTS: [(&str, &str); 3] = [
    (
        "from the script tag to the launcher",
        "return launcher.then((time) => time - performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/widget.js')).startTime);",
    ),
    (
        "from a click on it to the greeting",
        "return after((root) => root.querySelector('.launcher').click(), (root) => root.querySelector('.entry .prose'));",
    ),
    (
        "from sending to the first words of the reply",
        "return after((root) => {
            const field = root.querySelector('.field textarea');
            field.value = 'Hello';
            field.dispatchEvent(new Event('input', { bubbles: true }));
            root.querySelector('.send').click();
        }, (root) => root.querySelector('.visitor ~ .assistant .prose')?.textContent);",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which scripts/bench page runs"]
#[expect(clippy::print_stdout, reason = "the table is what this is for")]
async fn times_on_a_slow_connection() {
    let scene = Scene::start().await;
    let Guest { browser, page, .. } = &scene.guest;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": RECORD })).await;
    browser.throttle().await;
    let mut times = PARTS.map(|_| Vec::new());

    for _ in 0..ROUNDS {
        browser.devtools("Network.clearBrowserCache", &json!({})).await;
        browser.visit(&page.url("/")).await;
        for ((_, script), times) in PARTS.iter().zip(&mut times) {
            times.push(browser.evaluate(script).await.as_f64().expect("milliseconds"));
        }
        browser.evaluate("Rejoinder.destroy(); localStorage.clear();").await;
    }

    println!(
        "| 1.6 Mbit/s, 150 ms, a processor at a quarter of its speed | median | lowest to highest |\n|---|---|---|"
    );
    for ((name, _), times) in PARTS.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let [median, lowest, highest] = [times[ROUNDS / 2], times[0], times[ROUNDS - 1]];
        println!("| {name} | {median:.0} ms | {lowest:.0} to {highest:.0} ms |");
    }
}
