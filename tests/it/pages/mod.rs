//! The pages in a real browser, served with the demo and the offline model.

use rejoinder::service::demo::DEMO_FILE;

use crate::support::browser::Browser;
use crate::support::db::TestDb;
use crate::support::server::{Setup, TestServer};
use crate::support::store;

const QUESTION: &str = "What times are free for a demo next week?";

/// Starts a server without any settings.
async fn start_without_settings() -> (TestDb, TestServer) {
    let db = store::sqlite().await;
    let setup = Setup::default()
        .env("REJOINDER_MODEL__KIND", "offline")
        .workspace(|_| DEMO_FILE.to_owned())
        .system_clock();
    let server = setup.start(&db).await;
    (db, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_page_answers_shows_the_call_and_survives_a_reload() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;

    browser.visit(&server.url()).await;
    browser.wait_for_text("#chips", QUESTION).await;
    browser.find("#chips button").await.click().await;
    browser.wait_for_text(".entry.visitor", QUESTION).await;
    browser.wait_for_text(".call summary", "check_calendar_availability").await;
    let reply = browser.find("#log .entry.assistant:last-of-type").await.text().await;
    let before = browser.find("#log").await.text().await;
    browser.reload().await;
    browser.wait_for_text(".call summary", "check_calendar_availability").await;

    assert!(reply.contains("found"), "{reply}");
    assert_eq!(browser.find("#log").await.text().await, before);
    assert_eq!(server.query_number("select count(*) from turns where state = 'completed'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_shows_every_operation_of_the_document() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;
    let document = server.request("GET", "/openapi.json").send().await.json();
    let items = document["paths"].as_object().unwrap().values();
    let operations: usize =
        items.map(|item| item.as_object().unwrap().keys().filter(|key| *key != "parameters").count()).sum();

    browser.visit(&format!("{}/docs", server.url())).await;
    browser.wait_for_text("#sendWidgetMessage", "/api/conversations/{uuid}/messages").await;

    assert_eq!(browser.find_all("article.operation").await.len(), operations);
    browser.wait_for_text("#sendMessage", "Needs a bearer key.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_talks_to_the_widget_api() {
    let (_db, server) = start_without_settings().await;
    let page =
        axum::Router::new().route("/", axum::routing::get(async || axum::response::Html("<p>Shop</p>")));
    let page = crate::support::router_server::RouterServer::start(page).await;
    let browser = Browser::open().await;

    browser.visit(&page.url()).await;
    let url = format!("{}/api/conversations/{}/messages", server.url(), crate::support::server::WIDGET);
    let script = format!(
        "const request = new XMLHttpRequest();
         request.open('POST', '{url}', false);
         request.setRequestHeader('Content-Type', 'application/json');
         request.setRequestHeader('Idempotency-Key', 'k');
         request.send(JSON.stringify({{ message: 'Hello' }}));
         return [request.status, JSON.parse(request.responseText).status, request.getResponseHeader('Rejoinder-Turn')];"
    );
    let answer = browser.evaluate(&script).await;

    assert_eq!((&answer[0], &answer[1]), (&200.into(), &true.into()), "{answer}");
    assert!(answer[2].as_str().unwrap().starts_with("trn_"), "our headers are exposed: {answer}");
}

#[test]
fn the_demo_page_uses_the_assistant_of_the_demo_workspace() {
    let page = include_str!("../../../src/http/pages/assets/demo_api.js");

    let (_, rest) = page.split_once("const ASSISTANT = \"").unwrap();
    let assistant = rest.split_once('"').unwrap().0;

    assert!(DEMO_FILE.contains(&format!("id = \"{assistant}\"")));
}
