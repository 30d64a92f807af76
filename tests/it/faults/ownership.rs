//! Ownership of turns: a turn that does not run is found, and an end by another process reaches the owner.

use serde_json::json;

use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

both_backends!(
    async fn an_owned_turn_that_does_not_run_is_handed_back(db: TestDb) {
        let server = Setup::default()
            .env("REJOINDER_TURN__LEASE", "1s")
            .env("REJOINDER_TURN__MAX_IN_FLIGHT_PER_WORKSPACE", "1")
            .system_clock()
            .start(&db)
            .await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("First.").gated_by(&gate), Reply::text("Second.")]);
        let body = |text: &str| json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string();
        server.enqueue(body("one")).send().await;
        server.model.calls().wait_for_count(1).await;
        let second = server.enqueue(body("two")).send().await.json();
        let con = second["data"]["conversation_id"].as_str().unwrap();

        // As after a panic: the database says that the turn runs here, and no task does.
        let owner = match db.backend() {
            Backend::Sqlite => "(select owner from turns where state = 'running')",
            Backend::Postgres => "(select id from processes)",
        };
        seed::execute(
            &db,
            &format!("update turns set state = 'running', fence = fence + 1, owner = {owner} where state = 'queued'"),
        )
        .await;
        let handed_back =
            "select count(*) from turns where state = 'queued' and fence >= 2 and takeovers = 1";
        wait_for("the turn to be handed back", async || {
            (server.query_number(handed_back).await == 1).then_some(())
        })
        .await;
        gate.open();

        assert_eq!(server.wait_for_messages(con, 2).await[1]["text"], "Second.");
    }
);

/// Makes the database refuse every reply that contains this word.
async fn refuse_word(db: &TestDb) {
    let statements: &[&str] = match db.backend() {
        Backend::Sqlite => {
            &["create trigger refused before insert on messages when new.text like '%unspeakable%' \
             begin select raise(abort, 'refused'); end"]
        }
        Backend::Postgres => &[
            "create function refuse() returns trigger language plpgsql as $$ begin \
             raise exception 'refused' using errcode = '22000'; end $$",
            "create trigger refused before insert on messages for each row \
             when (new.text like '%unspeakable%') execute function refuse()",
        ],
    };
    for statement in statements {
        seed::execute(db, statement).await;
    }
}

both_backends!(
    async fn a_reply_that_the_database_refuses_fails_its_turn(db: TestDb) {
        let server = TestServer::start(&db).await;
        refuse_word(&db).await;
        server.model.script().queue([Reply::text("An unspeakable reply."), Reply::text("A better one.")]);

        let refused = server.post_message(WIDGET, "Hi").send().await;
        let next = server.post_message(WIDGET, "Hi again").send().await;

        let expected =
            r#"{"status":false,"error":"Failed to process message: The model's answer could not be read"}"#;
        assert_eq!((refused.status, refused.text()), (400, expected));
        assert_eq!(refused.header("rejoinder-error"), Some("model_unreadable"));
        assert_eq!(next.status, 200);
        assert_eq!(server.balance().await, "9.99");
        assert_eq!(server.events("reply.failed").await.len(), 1);
        let stored = "select count(*) from journal where content like '%unspeakable%'";
        assert_eq!(server.query_number(stored).await, 0);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passed_deadline_ends_the_task_in_another_process() {
    let db = store::postgres().await;
    let setup = || Setup::default().env("REJOINDER_WIDGET__DEADLINE", "3s").system_clock();
    let first = setup().env("REJOINDER_TURN__MAX_IN_FLIGHT", "2").start(&db).await;
    let never = Gate::closed();
    let reply_gate = never.clone();
    first.model.script().respond_with(move |_: &ModelRequest| Reply::text("Never.").gated_by(&reply_gate));
    let busy = first.create_conversation().await;

    let (_, (waited, second)) = tokio::join!(first.post_message(&busy, "Takes the slot").send(), async {
        first.model.calls().wait_for_count(1).await;
        tokio::join!(first.post_message(WIDGET, "Hi").send(), async {
            first.wait_for_events("message.created", 2).await;
            let second = first.start_peer(&db, setup()).await;
            first.model.calls().wait_for_count(2).await;
            second
        })
    });

    let expected = r#"{"status":false,"error":"Failed to process message: Connection timeout"}"#;
    assert_eq!((waited.status, waited.text()), (400, expected));
    let hung_up = async || first.model.calls().all()[1].ended;
    wait_for("the call of the other process to be dropped", hung_up).await;
    never.open();
    assert_eq!(first.balance().await, "10.00");
    assert_eq!(first.events("reply.failed").await.len(), 2);
    first.stop().await;
    second.stop().await;
}
