//! The `OpenAPI` document, against what is really served and sent.

use std::collections::BTreeSet;

use crate::support::server::{ASSISTANT, TestServer};
use crate::support::store;

use serde_json::{Value, json};

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The names of a schema's properties.
fn properties(document: &Value, schema: &str) -> BTreeSet<String> {
    let schema = &document["components"]["schemas"][schema];
    let mut names = BTreeSet::new();
    for part in schema["allOf"].as_array().unwrap_or(&vec![schema.clone()]) {
        names.extend(part["properties"].as_object().into_iter().flat_map(|found| found.keys().cloned()));
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_served_and_describes_both_doors_with_their_errors() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;

    let answer = server.call("GET", "/openapi.json").send().await;
    let document = answer.json();

    assert_eq!(document["openapi"], "3.1.0");
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/api/conversations/{uuid}/messages",
        "/v1/messages",
        "/v1/conversations/{id}/widget_link",
        "/v1/ledger",
    ] {
        assert!(paths.contains(&path), "{paths:?}");
    }
    for (path, method) in
        [("/api/conversations/{uuid}/messages", "post"), ("/v1/messages", "post"), ("/v1/balance", "get")]
    {
        let responses = document["paths"][path][method]["responses"].as_object().unwrap();
        for status in ["200", "400", "401", "404", "429"] {
            assert!(responses.contains_key(status), "{path} {status}");
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(document["paths"]["/v1/messages"]["post"]["security"], json!([{"bearer": []}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_document_is_served() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.call("GET", "/openapi.json").send().await.json();

    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let path = path.replace("{uuid}", "x").replace("{id}", "x");
            let answer = server.call(&method.to_uppercase(), &path).send().await;
            let code = answer.header("rejoinder-error");
            assert!(!matches!(code, Some("route_not_found" | "method_not_allowed")), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_has_no_field_that_is_not_described() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let document = server.call("GET", "/openapi.json").send().await.json();
    let body =
        json!({"assistant_id": ASSISTANT, "type": "widget", "metadata": {}, "external_identifier": "x"});
    let made = server
        .call("POST", "/v1/conversations")
        .bearer(&server.keys.all)
        .raw_json(body.to_string())
        .send()
        .await
        .json();
    let uuid = made["data"]["widget_uuid"].as_str().unwrap().to_owned();
    let reply = server.say(&uuid, r#"{"message": "Hi"}"#).send().await;
    let turn = reply.header("rejoinder-turn").unwrap().to_owned();
    let get = async |path: &str| {
        server.call("GET", path).bearer(&server.keys.all).send().await.json()["data"].clone()
    };
    let con = made["data"]["id"].as_str().unwrap();
    let conversation = get(&format!("/v1/conversations/{con}")).await;
    let messages = get(&format!("/v1/conversations/{con}/messages")).await;
    let history = server.call("GET", &format!("/api/conversations/{uuid}")).send().await.json();

    for (sent, schema) in [
        (&made["data"], "NewConversation"),
        (&conversation, "Conversation"),
        (&messages["items"][2], "Message"),
        (&reply.json(), "WidgetReply"),
        (&history, "VisitorView"),
        (&history["history"][2], "Entry"),
        (&get(&format!("/v1/turns/{turn}")).await, "TurnOut"),
        (&get("/v1/ledger").await["items"][1], "LedgerEntryOut"),
        (&get("/v1/events").await["items"][0], "Event"),
        (&get("/v1/balance").await, "BalanceOut"),
    ] {
        let described = properties(&document, schema);
        let sent = keys(sent);
        assert!(sent.is_subset(&described), "{schema}: sent {sent:?}, described {described:?}");
    }
}
