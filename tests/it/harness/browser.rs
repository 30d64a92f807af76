//! The browser shows a page, types, clicks, reloads and takes a screenshot.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::support::browser::Browser;
use crate::support::router_server::RouterServer;

const PAGE: &str = r#"<!doctype html>
<title>A small page</title>
<form><input name="text"><button>Say</button></form>
<ul></ul>
<script>
  const list = document.querySelector("ul");
  const show = text => list.append(Object.assign(document.createElement("li"), { textContent: text }));
  const said = JSON.parse(localStorage.getItem("said") ?? "[]");
  said.forEach(show);
  document.querySelector("form").addEventListener("submit", event => {
    event.preventDefault();
    const text = new FormData(event.target).get("text");
    localStorage.setItem("said", JSON.stringify([...said, text]));
    setTimeout(() => show(text), 50);
  });
</script>"#;

#[tokio::test]
async fn a_page_can_be_used_by_typing_and_clicking() {
    let page = RouterServer::start(Router::new().route("/", get(async || Html(PAGE)))).await;
    let browser = Browser::open().await;

    browser.visit(&page.url()).await;
    assert_eq!(browser.count("li").await, 0);
    browser.find("input").await.type_text("Grüß Gott").await;
    browser.find("button").await.click().await;
    assert_eq!(browser.wait_for_text("ul", "Grüß").await, "Grüß Gott");
    browser.reload().await;
    assert_eq!(browser.find("li").await.text().await, "Grüß Gott");

    assert_eq!(browser.evaluate("return document.title").await, "A small page");
    assert!(browser.screenshot().await.starts_with(b"\x89PNG"));
}
