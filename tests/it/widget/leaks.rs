//! A chat that is destroyed leaves nothing.

use serde_json::{Value, json};

use super::Guest;
use super::host_page;
use crate::support::server::{ASSISTANT, Setup};
use crate::support::wait::wait_for;

/// Mounts the chat, waits for its conversation, and destroys it, this many times.
fn cycles(guest: &Guest, count: usize) -> String {
    format!(
        "const options = {{ assistant: '{ASSISTANT}', server: '{}', open: true, variables: {{ name: 'Ada' }} }};
         const ready = () => new Promise((resolve) => {{
             const end = Rejoinder.on('ready', () => resolve(end()));
         }});
         return (async () => {{
             for (let cycle = 0; cycle < {count}; cycle += 1) {{
                 const shown = ready();
                 Rejoinder.mount(options);
                 await shown;
                 Rejoinder.destroy();
             }}
         }})();",
        guest.server.url()
    )
}

/// The documents, nodes and listeners of the page.
async fn counters(guest: &Guest) -> [u64; 3] {
    let counts = guest.browser.dom_counters().await;
    ["documents", "nodes", "jsEventListeners"].map(|name| counts[name].as_u64().unwrap())
}

/// What the document has: its nodes, styles, and the names of the window.
const DOCUMENT: &str = "return [document.documentElement.outerHTML, document.adoptedStyleSheets.length,
    Object.getOwnPropertyNames(window).sort()];";

/// Causes what a chat would react to. Returns the requests that follow; the last is of the test.
const PROVOKE: &str = "
    const requests = () => performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname);
    performance.clearResourceTimings();
    for (const type of ['storage', 'online', 'focus', 'resize', 'pageshow']) dispatchEvent(new Event(type));
    document.dispatchEvent(new Event('visibilitychange'));
    return (async () => {
        await fetch('/last');
        while (!requests().includes('/last')) await new Promise((resolve) => setTimeout(resolve));
        return requests();
    })();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_chats_that_were_destroyed_leave_nothing() {
    let guest = Guest::start_with(Setup::default()).await;
    let browser = &guest.browser;
    guest.page.serve("/bare", &host_page::html("", ""));
    browser.visit(&guest.page.url("/bare")).await;
    browser.evaluate(DOCUMENT).await;
    let before = browser.evaluate(DOCUMENT).await;
    let load = format!(
        "return new Promise((resolve) => {{
             const script = document.createElement('script');
             script.onload = () => resolve(script.remove());
             script.src = '{}/widget.js';
             document.head.append(script);
         }});",
        guest.server.url()
    );
    browser.evaluate(&load).await;

    // The first conversation is begun, and the others show it.
    browser.evaluate(&cycles(&guest, 3)).await;
    let ended = async || (guest.server.followers() == 0).then_some(());
    wait_for("the end of the first streams", ended).await;
    let counted = counters(&guest).await;
    for _ in 0..10 {
        browser.evaluate(&cycles(&guest, 10)).await;
    }

    let look = async || {
        let counts = counters(&guest).await;
        counts.iter().zip(&counted).all(|(count, before)| count <= before).then_some(())
    };
    wait_for(&format!("the counts of three chats, {counted:?}"), look).await;
    let after = browser.evaluate(DOCUMENT).await;
    assert_eq!((&after[0], &after[1]), (&before[0], &before[1]));
    let is_new = |name: &&Value| !before[2].as_array().unwrap().contains(name);
    let names: Vec<_> = after[2].as_array().unwrap().iter().filter(is_new).collect();
    // The queue takes calls at any time.
    assert_eq!(json!(names), json!(["Rejoinder", "RejoinderQueue"]));
    wait_for("the end of all streams", ended).await;
    assert_eq!(browser.evaluate(PROVOKE).await, json!(["/last"]));
}
