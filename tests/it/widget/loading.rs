//! What the chat loads, and when.

use serde_json::json;

use super::Guest;
use crate::support::wait::wait_for;

/// The requests to a server that the page has made, as paths. The file of the core has a digest in its name.
async fn requests(guest: &Guest) -> Vec<String> {
    let script = format!(
        "return performance.getEntriesByType('resource').map(({{ name }}) => name)
            .filter((name) => name.startsWith('{}')).map((name) => new URL(name).pathname);",
        guest.server.url()
    );
    serde_json::from_value(guest.browser.evaluate(&script).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_the_loader_is_requested_before_the_chat_is_opened() {
    let guest = Guest::start().await;

    guest.visit().await;
    let closed = requests(&guest).await;
    guest.open().await;
    let opened = requests(&guest).await;
    // The conversation is stored now, so its messages are shown without a click.
    guest.browser.reload().await;
    guest.wait_until("Boolean(root?.querySelector('.panel'))").await;
    let look = async || Some(requests(&guest).await).filter(|requests| requests.len() >= 2);
    let stored = wait_for("the requests for the scripts", look).await;

    assert_eq!(closed, ["/widget.js"]);
    assert!(opened[1].starts_with("/widget/"), "{opened:?}");
    assert!(opened[2..].iter().all(|path| path.starts_with("/api/")), "{opened:?}");
    assert_eq!(stored[..2], opened[..2]);
    assert_eq!(guest.page.requests(), ["/", "/"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loader_is_checked_again_and_the_core_is_kept_for_ever() {
    let guest = Guest::start().await;
    guest.visit().await;
    guest.open().await;
    let core = requests(&guest).await.swap_remove(1);
    let get = async |path: &str, tag: &str| {
        guest.server.request("GET", path).header("if-none-match", tag).send().await
    };

    for (path, policy) in
        [("/widget.js", "public, max-age=300"), (&*core, "public, max-age=31536000, immutable")]
    {
        let file = get(path, "\"other\"").await;
        let tag = file.header("etag").unwrap().to_owned();
        assert_eq!((file.status, file.header("cache-control")), (200, Some(policy)), "{path}");
        assert_eq!(get(path, &tag).await.status, 304, "{path}");
    }
    assert_eq!(guest.evaluate("typeof customElements.get('rejoinder-chat')").await, json!("function"));
}
