//! API keys on the widget API: what a key may change, and which keys lift limits.

use rejoinder::domain::account::Scope;
use rejoinder::service::keys::{self, CreateKey};
use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::Request;
use crate::support::server::{ASSISTANT, Setup, TestServer, WIDGET};
use crate::support::store;

/// A new key of the workspace with this scope alone.
async fn create_key(server: &TestServer, scope: Scope) -> String {
    let services = server.services();
    let request = CreateKey {
        workspace: "demo".to_owned(),
        name: "one scope".to_owned(),
        scopes: vec![scope],
        expires_in: None,
    };
    let created = keys::create(&services.db, services.clock.as_ref(), &services.ids, request).await;
    created.unwrap().0.expose().to_owned()
}

/// A new conversation with a variable that only a key may set.
fn create_conversation(server: &TestServer) -> Request {
    let body = json!({ "assistant_id": ASSISTANT, "variables": { "plan": "acme" } });
    server.request("POST", "/api/conversations").json(&body)
}

/// Each request of the widget API that changes something.
fn changes(server: &TestServer) -> [Request; 4] {
    let switch =
        |action: &str| server.request("POST", &format!("/api/automate/conversations/{WIDGET}/{action}"));
    [
        create_conversation(server),
        server.post_message(WIDGET, "Hi"),
        switch("disable-ai"),
        switch("enable-ai"),
    ]
}

both_backends!(
    async fn a_change_by_a_key_needs_the_scope_that_it_needs_on_the_platform_api(db: TestDb) {
        let server = TestServer::start(&db).await;

        for scope in [Scope::Read, Scope::BillingRead, Scope::Config] {
            let key = create_key(&server, scope).await;
            let before = server.row_counts().await;
            for request in changes(&server) {
                let answer = request.bearer(&key).send().await;
                let expected = r#"{"status":false,"error":"This key lacks the scope 'messages:write'."}"#;
                assert_eq!((answer.status, answer.text()), (403, expected), "{}", scope.as_str());
                assert_eq!(answer.header("rejoinder-error"), Some("missing_scope"));
            }
            assert_eq!(server.row_counts().await, before, "{}", scope.as_str());
            let history = server.request("GET", &format!("/api/conversations/{WIDGET}")).bearer(&key);
            assert_eq!(history.send().await.status, 200, "its UUID is enough to read a conversation");
        }
        assert!(server.model.calls().all().is_empty());

        let key = create_key(&server, Scope::MessagesWrite).await;
        for request in changes(&server) {
            let answer = request.bearer(&key).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
);

both_backends!(
    async fn tools_trust_the_variables_of_a_key_that_may_create_conversations(db: TestDb) {
        let in_url = |text: String| text.replace("/orders/{order_id}", "/orders/{{plan}}/{order_id}");
        let server = Setup::default().workspace(in_url).start(&db).await;
        let key = create_key(&server, Scope::MessagesWrite).await;
        let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().queue([Reply::tool_calls([call]), Reply::text("Done.")]);

        let created = create_conversation(&server).bearer(&key).send().await.json();
        server.post_message(created["conversation_id"].as_str().unwrap(), "Where is it?").send().await;

        assert_eq!(server.tool.calls().all()[0].request.uri.path(), "/orders/acme/7");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_the_scope_lifts_no_limit() {
    let db = store::sqlite().await;
    let server =
        Setup::default().with_limits().env("REJOINDER_LIMITS__PER_ADDRESS", "4/hour").start(&db).await;
    let billing = create_key(&server, Scope::BillingRead).await;
    let read = create_key(&server, Scope::Read).await;
    let write = create_key(&server, Scope::MessagesWrite).await;
    let history = |key: &str| server.request("GET", "/api/conversations/x").bearer(key).send();
    let create = |key: &str| server.request("POST", "/api/conversations").body("{}").bearer(key).send();

    assert_eq!(history(&billing).await.status, 404);
    assert_eq!(history(&write).await.status, 404);
    assert_eq!(create(&billing).await.status, 403);
    assert_eq!(create(&read).await.status, 403);

    assert_eq!(history(&billing).await.status, 429, "the address has sent four requests");
    assert_eq!(history(&write).await.status, 429);
    assert_eq!(create(&billing).await.status, 429, "refused requests count, too");
    assert_eq!(create(&read).await.status, 429);
    assert_eq!(history(&read).await.status, 404);
    assert_eq!(create(&write).await.status, 422);
}
