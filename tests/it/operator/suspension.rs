//! A suspended workspace: nothing new, everything that is there can be read.

use std::time::Duration;

use serde_json::json;

use super::Operator;
use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::server::{ASSISTANT, TEST, TestServer, WIDGET};
use crate::support::wait::{wait_at_most, wait_for};

const SUSPENDED: &str = r#"{"status":false,"error":"Failed to process message: The workspace is suspended"}"#;

async fn switch(operator: &Operator<'_>, slug: &str, action: &str) {
    let path = format!("/workspaces/{}/{action}", operator.workspace(slug).await);
    let answer = operator.request("POST", &path).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

both_backends!(
    async fn messages_and_changes_are_refused_and_reading_works(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let con = server.store_message(None, "before").await;

        switch(&operator, "demo", "suspend").await;

        let widget = server.post_message(WIDGET, "Hi").send().await;
        assert_eq!((widget.status, widget.text()), (400, SUSPENDED));
        assert_eq!(widget.header("rejoinder-error"), Some("workspace_suspended"));
        let created = json!({ "assistant_id": ASSISTANT });
        let created = server.request("POST", "/api/conversations").json(&created).send().await;
        assert_eq!((created.status, created.text()), (400, SUSPENDED));
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" });
        let sent = server.enqueue(body.to_string()).send().await;
        assert_eq!((sent.status, sent.header("rejoinder-error")), (403, Some("workspace_suspended")));
        assert_eq!(sent.text(), r#"{"status":"error","message":"The workspace is suspended","data":null}"#);
        // The key is cached for four seconds, which messages do not depend on.
        let is_refused = async || {
            let base = json!({ "slug": "x" });
            let request = server.request("POST", "/v1/knowledge_bases").bearer(&server.keys.full).json(&base);
            (request.send().await.status == 403).then_some(())
        };
        wait_at_most(Duration::from_secs(5), "changes to be refused", is_refused).await;
        for path in ["/v1/me", "/v1/events", "/v1/balance", &format!("/v1/conversations/{con}/messages")] {
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
        assert_eq!(server.get("/v1/me").await.json()["data"]["workspace"]["suspended"], true);
        assert_eq!(server.get("/v1/events/stream").await.status, 403);

        switch(&operator, "demo", "resume").await;

        let again = server.post_message(TEST, "Hi").send().await;
        assert_eq!(again.status, 200, "{}", again.text());
    }
);

both_backends!(
    async fn open_turns_are_discarded_and_refunded(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Too late.").gated_by(&gate)]);

        let (answer, ()) = tokio::join!(server.post_message(WIDGET, "Hi").send(), async {
            server.model.calls().wait_for_count(1).await;
            switch(&operator, "demo", "suspend").await;
        });
        gate.open();

        assert_eq!((answer.status, answer.text()), (400, SUSPENDED));
        assert_eq!(server.balance().await, "10.00");
        let discarded = server.wait_for_events("reply.discarded", 1).await;
        assert_eq!(discarded[0]["data"]["reason"], "workspace_suspended");
    }
);

both_backends!(
    async fn streams_of_the_workspace_end_and_those_of_others_stay(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let open = async |key: &str| {
            let mut stream =
                server.request("GET", "/v1/events/stream?after=latest").bearer(key).stream().await;
            assert!(stream.block().await.is_some());
            stream
        };
        let mut own = open(&server.keys.full).await;
        let _other = open(&server.keys.other_workspace).await;

        switch(&operator, "demo", "suspend").await;

        while own.block().await.is_some() {}
        wait_for("one follower", async || (server.followers() == 1).then_some(())).await;
        let other = server.request("GET", "/v1/balance").bearer(&server.keys.other_workspace);
        assert_eq!(other.send().await.status, 200);
    }
);
