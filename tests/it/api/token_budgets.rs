//! Token budgets, through both APIs. Each answer of the fake model reports 150 tokens.

use std::time::Duration;

use serde_json::json;

use super::limits::assert_capped;
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

const PER_CONVERSATION: &str = "REJOINDER_LIMITS__TOKENS_PER_CONVERSATION";
const EXHAUSTED: &str =
    r#"{"status":false,"error":"Failed to process message: The token budget is used up"}"#;

/// The tokens of all workspaces on their day.
async fn tokens(server: &TestServer) -> i64 {
    server.query_number("select cast(sum(day_tokens) as bigint) from workspace_state").await
}

both_backends!(
    async fn a_conversation_that_has_used_its_tokens_gets_no_more_replies(db: TestDb) {
        let server = Setup::default().with_limits().env(PER_CONVERSATION, "150").start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });

        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
        assert_capped(&server, server.post_message(WIDGET, "Hi").bearer(&server.keys.full)).await;
        let before = server.row_counts().await;
        let refused = server.enqueue(body.to_string()).send().await;

        assert_eq!(refused.status, 429);
        assert_eq!(refused.text(), r#"{"status":"error","message":"Too Many Attempts.","data":null}"#);
        assert_eq!(refused.header("rejoinder-error"), Some("limit_reached"));
        assert_eq!(refused.header("retry-after"), Some("86400"));
        assert_eq!(server.row_counts().await, before);
        assert_eq!(server.balance().await, "9.99");
        assert_eq!(server.model.calls().all().len(), 1);
        let other = server.create_conversation().await;
        assert_eq!(server.post_message(&other, "Hi").send().await.status, 200);
    }
);

both_backends!(
    async fn a_workspace_file_bounds_the_tokens_of_a_day(db: TestDb) {
        let budget = |text: String| text.replace("[workspace]\n", "[workspace]\ntokens_per_day = 150\n");
        let server = Setup::default().workspace(budget).start(&db).await;
        let other = server.create_conversation().await;

        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
        for uuid in [WIDGET, &other] {
            assert_capped(&server, server.post_message(uuid, "Hi")).await;
        }
        server.advance_clock(&db, Duration::from_hours(24)).await;

        assert_eq!(server.post_message(&other, "Hi").send().await.status, 200);
        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
    }
);

both_backends!(
    async fn a_loop_of_tool_calls_ends_with_the_call_that_uses_up_the_budget(db: TestDb) {
        let server = Setup::default().with_limits().env(PER_CONVERSATION, "300").start(&db).await;
        let order = || ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().respond_with(move |_| Reply::tool_calls([order()]));

        let ended = server.post_message(WIDGET, "Where is it?").send().await;

        assert_eq!((ended.status, ended.text()), (400, EXHAUSTED));
        assert_eq!(ended.header("rejoinder-error"), Some("token_budget_exhausted"));
        assert_eq!(server.model.calls().all().len(), 2);
        assert_eq!(server.tool.calls().all().len(), 1, "no tool runs for an answer that no model will read");
        assert_eq!(server.balance().await, "10.00");
        let events = server.wait_for_events("reply.failed", 1).await;
        assert_eq!(events[0]["data"]["reason"], "token_budget_exhausted");
        assert_eq!(tokens(&server).await, 300);
        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
    }
);

both_backends!(
    async fn a_failed_turn_counts_although_its_model_reports_no_usage(db: TestDb) {
        let server = Setup::default().with_limits().env(PER_CONVERSATION, "1").start(&db).await;
        server.model.script().queue([Reply::garbage()]);

        let failed = server.post_message(WIDGET, "Hi").send().await;

        assert_eq!(failed.header("rejoinder-error"), Some("model_unreadable"));
        assert!(tokens(&server).await > 1, "its request is estimated");
        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_call_that_fails_counts_with_the_answer_that_came_before(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::unfinished(&"long ".repeat(1_600))]);

        let failed = server.post_message(WIDGET, "Hi").send().await;

        assert_eq!(failed.header("rejoinder-error"), Some("model_unreadable"));
        // The model sent at least the first half of 8,000 bytes.
        let tokens = tokens(&server).await;
        assert!(tokens >= 1_000, "{tokens}");
    }
);

both_backends!(
    async fn a_call_of_an_owner_that_was_fenced_off_counts(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Late.").gated_by(&gate)]);
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" });
        assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
        server.model.calls().wait_for_count(1).await;

        seed::execute(&db, "update turns set fence = fence + 1").await;
        gate.open();

        wait_for("the tokens of the call", async || (tokens(&server).await == 150).then_some(())).await;
        assert_eq!(server.events("message.created").await.len(), 1, "no reply was stored");
    }
);

both_backends!(
    async fn a_turn_that_waited_for_the_one_that_uses_up_the_budget_calls_no_model(db: TestDb) {
        let server = Setup::default().with_limits().env(PER_CONVERSATION, "150").start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Yes.").gated_by(&gate)]);

        let (first, second) = tokio::join!(server.post_message(WIDGET, "One").send(), async {
            server.model.calls().wait_for_count(1).await;
            let admitted = async {
                let turns = "select count(*) from turns";
                wait_for("the second turn", async || (server.query_number(turns).await == 2).then_some(()))
                    .await;
                gate.open();
            };
            let (second, ()) = tokio::join!(server.post_message(WIDGET, "Two").send(), admitted);
            second
        });

        assert_eq!(first.status, 200);
        assert_eq!((second.status, second.text()), (400, EXHAUSTED));
        assert_eq!(server.model.calls().all().len(), 1);
        assert_eq!(server.balance().await, "9.99");
        assert_eq!(tokens(&server).await, 150);
    }
);

/// Waits until the call of a turn that was ended from outside is counted, by an estimate of its request.
async fn wait_for_tokens(server: &TestServer) {
    wait_for("the tokens of the call", async || (tokens(server).await > 1).then_some(())).await;
}

both_backends!(
    async fn a_call_that_the_deadline_of_its_client_breaks_off_counts(db: TestDb) {
        let server = Setup::default().env("REJOINDER_WIDGET__DEADLINE", "3s").system_clock().start(&db).await;
        let never = Gate::closed();
        server.model.script().queue([Reply::text("Never.").gated_by(&never)]);

        let late = server.post_message(WIDGET, "Hi").send().await;

        assert_eq!(late.header("rejoinder-error"), Some("model_timeout"));
        wait_for_tokens(&server).await;
    }
);

both_backends!(
    async fn a_call_that_a_takeover_by_a_person_breaks_off_counts(db: TestDb) {
        let server = TestServer::start(&db).await;
        let never = Gate::closed();
        server.model.script().queue([Reply::text("Never.").gated_by(&never)]);
        let switch = format!("/api/automate/conversations/{WIDGET}/disable-ai");

        let (waited, ()) = tokio::join!(server.post_message(WIDGET, "Hi").send(), async {
            server.model.calls().wait_for_count(1).await;
            let switched = server.request("POST", &switch).bearer(&server.keys.full).send().await;
            assert_eq!(switched.status, 200);
        });

        assert_eq!(waited.status, 200, "{}", waited.text());
        wait_for_tokens(&server).await;
        assert_eq!(server.balance().await, "10.00");
    }
);
