//! Charges, refunds and balances of widget messages.

use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::script::Gate;
use crate::support::server::{Setup, TEST, TestServer, WIDGET};

const TOO_LOW: &str = r#"{"status":false,"error":"Insufficient balance. Please top up your account."}"#;

both_backends!(
    async fn two_messages_never_spend_the_same_cent(db: TestDb) {
        let server = Setup::default().balance("0.03").start(&db).await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        server.model.script().respond_with(move |_| Reply::text("Yes.").gated_by(&reply_gate));
        let mut uuids = Vec::new();
        for _ in 0..8 {
            uuids.push(server.create_conversation().await);
        }

        let (answers, ()) = tokio::join!(
            futures::future::join_all(uuids.iter().map(|uuid| server.post_message(uuid, "Hi").send())),
            async {
                server.model.calls().wait_for_count(3).await;
                gate.open();
            }
        );

        let (paid, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((paid.len(), refused.len()), (3, 5));
        assert!(refused.iter().all(|answer| (answer.status, answer.text()) == (400, TOO_LOW)));
        assert!(
            refused.iter().all(|answer| answer.header("rejoinder-error") == Some("insufficient_balance"))
        );
        assert_eq!(server.balance().await, "0.00");
        let spent = "select count(*) from messages where sender_id = 'visitor'";
        assert_eq!(server.query_number(spent).await, 3, "a refused message stores nothing");
    }
);

both_backends!(
    async fn a_refund_is_worth_another_message(db: TestDb) {
        let server = Setup::default().balance("0.01").start(&db).await;
        server.model.script().queue([Reply::garbage(), Reply::text("Yes.")]);

        let failed = server.post_message(WIDGET, "Hi").send().await;
        let paid = server.post_message(WIDGET, "Hi").send().await;
        let refused = server.post_message(WIDGET, "Hi").send().await;

        assert_eq!((failed.status, paid.status), (400, 200));
        assert_eq!((refused.status, refused.text()), (400, TOO_LOW));
        let ledger = server.get("/v1/ledger").await.json();
        let entries: Vec<_> = ledger["data"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| json!([entry["number"], entry["kind"], entry["amount"], entry["balance_after"]]))
            .collect();
        assert_eq!(
            entries,
            [
                json!([1, "top_up", "0.01", "0.01"]),
                json!([2, "charge", "-0.01", "0.00"]),
                json!([3, "refund", "0.01", "0.01"]),
                json!([4, "charge", "-0.01", "0.00"]),
            ]
        );
    }
);

both_backends!(
    async fn a_test_conversation_costs_nothing_with_no_balance_at_all(db: TestDb) {
        let server = Setup::default().balance("0.00").start(&db).await;

        let answer = server.post_message(TEST, "Hi").send().await;

        assert_eq!(
            answer.text(),
            r#"{"status":true,"message":"A reply of the fake model.","function_calls":[]}"#
        );
        assert_eq!(server.query_number("select count(*) from ledger where kind <> 'top_up'").await, 0);
    }
);

both_backends!(
    async fn a_low_balance_is_reported_once(db: TestDb) {
        let low =
            |text: String| text.replace("balance = \"10.00\"", "balance = \"0.04\"\nbalance_low = \"0.03\"");
        let server = Setup::default().workspace(low).start(&db).await;

        for _ in 0..3 {
            assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
        }

        let low_balance = server.events("balance.low").await;
        assert_eq!(low_balance.len(), 1, "{low_balance:?}");
        assert_eq!(low_balance[0]["data"]["threshold"], "0.03");
    }
);

both_backends!(
    async fn a_tenants_balance_is_its_own(db: TestDb) {
        let server = TestServer::start(&db).await;

        server.post_message(WIDGET, "Hi").send().await;

        let other =
            server.request("GET", "/v1/balance").bearer(&server.keys.other_workspace).send().await.json();
        assert_eq!((server.balance().await.as_str(), &other["data"]["balance"]), ("9.99", &json!("1.00")));
        let feed =
            server.request("GET", "/v1/events").bearer(&server.keys.other_workspace).send().await.json();
        assert_eq!(feed["data"]["items"], json!([]));
    }
);
