//! Content security policies, and what a message may load.

use serde_json::json;

use super::host_page::{self, HostPage};
use super::scene::{MARKDOWN, Scene};
use super::script_tag;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::wait::wait_for;

/// Records violations from the beginning of each page.
const RECORD: &str = "window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_policy_of_the_page_is_not_violated() {
    let scene = Scene::start().await;
    let guest = &scene.guest;
    let browser = &guest.browser;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": RECORD })).await;
    let origin = guest.server.url();
    let sources = format!("connect-src {origin}; report-uri /reports");
    let policies = [
        ("/strict", format!("script-src {origin}"), ""),
        ("/nonce", "script-src 'nonce-abc' 'strict-dynamic'".to_owned(), "nonce=\"abc\""),
    ];
    scene.gate.open();

    for (path, scripts, attributes) in policies {
        let html = host_page::html("", &script_tag(&guest.server, attributes));
        guest.page.serve_with_policy(path, &html, &format!("default-src 'none'; {scripts}; {sources}"));
        guest.visit_path(path).await;
        guest.open().await;
        scene.ask_for_prices().await;
        scene.finish().await;
        browser.evaluate("Rejoinder.destroy(); localStorage.clear();").await;
        assert_eq!(browser.evaluate("return violations;").await, json!([]), "{path}");
    }
    assert_eq!(guest.page.requests(), ["/strict", "/nonce"]);

    browser.evaluate("document.body.setAttribute('style', 'color: red');").await;
    let reported = async || guest.page.requests().contains(&"/reports".to_owned()).then_some(());
    wait_for("the report of a violation", reported).await;
    assert_eq!(browser.evaluate("return violations;").await, json!(["style-src-attr inline"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_loads_nothing_from_elsewhere() {
    let scene = Scene::start().await;
    let guest = &scene.guest;
    let elsewhere = HostPage::start().await;
    let address = elsewhere.url("");
    let text = format!("{MARKDOWN}\n\n<img src=\"{address}/i.png\"> ![]({address}/j.png) [x]({address}/k)")
        .replace("https://example.com", &address);
    guest.server.model.script().respond_with(move |_: &ModelRequest| Reply::text(&text));

    guest.visit().await;
    guest.open().await;
    guest.say("Hello").await;
    guest.wait_for_reply("A picture").await;
    guest.browser.reload().await;
    guest.wait_for_reply("A picture").await;

    assert_eq!(elsewhere.requests(), [""; 0]);
    guest.browser.evaluate(&format!("new Image().src = '{address}/seen.png';")).await;
    let seen = async || (elsewhere.requests() == ["/seen.png"]).then_some(());
    wait_for("the request that the page itself makes", seen).await;
}
