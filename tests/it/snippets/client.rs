//! The client of `docs/widget.md` in a browser, on a page that is not a secure context.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use super::blocks::of;
use crate::support::browser::Browser;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::router_server::RouterServer;
use crate::support::server::TestServer;
use crate::support::store;

/// A host name with which a page is no secure context.
const HOST: &str = "chat.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_talks_over_plain_http() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let reply = |request: &ModelRequest| Reply::text(&format!("re: {}", request.prompt().unwrap()));
    server.model.script().respond_with(reply);
    let at_host = |url: &str| url.replace("127.0.0.1", HOST);
    let text = |language| of("docs/widget.md", language)[0].text.clone();
    let html = text("html");
    let script = text("js").replace("http://127.0.0.1:8080", &at_host(&server.url()));
    let script = ([("content-type", "text/javascript")], script);
    let files = Router::new()
        .route("/chat.html", get(move || async move { Html(html) }))
        .route("/chat.js", get(move || async move { script }));
    let files = RouterServer::start(files).await;
    let browser = Browser::open_with_host(HOST).await;

    browser.visit(&format!("{}/chat.html", at_host(&files.url()))).await;
    browser.wait_for_text("ol", "Hello !").await;
    for message in ["One", "Two"] {
        browser.find("input").await.type_text(message).await;
        browser.find("button").await.click().await;
        browser.wait_for_text("ol", &format!("re: {message}")).await;
    }
}
