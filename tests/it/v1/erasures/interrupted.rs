//! Erasures of many messages: a process that stops in the middle, two processes at once, and writes meanwhile.

use serde_json::{Value, json};

use super::{delete, erase, erasing_key, wait_until_done};
use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::seed;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

const MESSAGES: i64 = 5000;

/// Adds many messages to the only conversation that has one, as if they had been sent.
async fn multiply_messages(db: &TestDb) {
    let id = seed::random_id(db);
    let many = format!(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < {MESSAGES} - 1) \
         insert into messages (workspace_id, conversation_id, position, id, sender_type, sender_id, text, is_truncated, created_at) \
         select workspace_id, conversation_id, position + i, {id}, sender_type, sender_id, text, is_truncated, created_at \
         from messages, n where sender_id = 'u'; \
         update conversations set next_position = {MESSAGES} + 1 where next_position = 2 and exists (select 1 from messages m \
         where m.conversation_id = conversations.id and sender_id = 'u')"
    );
    seed::execute(db, &many).await;
}

async fn left(server: &TestServer) -> i64 {
    server.query_number("select count(*) from messages where sender_id = 'u'").await
}

both_backends!(
    async fn a_process_that_stops_in_the_middle_is_continued_by_the_next(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.store_message(None, "Hi").await;
        multiply_messages(&db).await;
        let key = erasing_key(&server).await;

        let accepted = delete(&server, &key, &con).await;
        let begun = async || Some(left(&server).await).filter(|left| *left < MESSAGES);
        wait_for("some messages to be removed", begun).await;
        let server = server.restart(&db, Setup::default().system_clock()).await;
        let erasure = wait_until_done(&server, &key, &accepted).await;

        assert_eq!(left(&server).await, 0);
        assert_eq!(erasure["removed"]["messages"], MESSAGES, "each is counted once");
    }
);

both_backends!(
    async fn messages_of_others_are_stored_meanwhile(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.store_message(None, "Hi").await;
        multiply_messages(&db).await;
        let key = erasing_key(&server).await;
        let body = json!({ "sender_id": "other", "sender_type": "user", "text": "Hi", "auto_reply": false });

        let accepted = delete(&server, &key, &con).await;
        let mut stored = 0;
        while left(&server).await > 0 {
            assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
            stored += 1;
        }
        wait_until_done(&server, &key, &accepted).await;

        let counted = server.query_number("select count(*) from messages where sender_id = 'other'").await;
        assert_eq!(counted, stored);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_do_not_count_a_message_twice() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    first.store_message(None, "Hi").await;
    multiply_messages(&db).await;
    let key = erasing_key(&first).await;

    let accepted = erase(&first, &key, &json!({ "sender_id": "u" })).await;
    let again = erase(&second, &key, &json!({ "sender_id": "u" })).await;
    let erasures: [Value; 2] =
        [wait_until_done(&first, &key, &accepted).await, wait_until_done(&second, &key, &again).await];

    let sum: i64 = erasures.iter().map(|erasure| erasure["removed"]["messages"].as_i64().unwrap()).sum();
    assert_eq!((sum, left(&first).await), (MESSAGES, 0));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_runs_in_another_process_is_ended() {
    use crate::support::fake_model::{ModelRequest, Reply};
    use crate::support::script::Gate;

    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    first.model.script().respond_with(move |_: &ModelRequest| Reply::text("late").gated_by(&reply_gate));
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" });
    let sent = first.enqueue(body.to_string()).send().await.json();
    first.model.calls().wait_for_count(1).await;
    let key = erasing_key(&first).await;

    let con = sent["data"]["conversation_id"].as_str().unwrap();
    let accepted = delete(&second, &key, con).await;
    wait_until_done(&second, &key, &accepted).await;
    gate.open();
    first.worker().wait_until_idle().await;

    assert_eq!(first.query_number("select count(*) from messages where sender_id = 'u'").await, 0);
    assert_eq!(first.query_number("select count(*) from turns where state <> 'discarded'").await, 0);
    assert_eq!(first.query_number("select count(*) from journal").await, 0);
    first.stop().await;
    second.stop().await;
}

both_backends!(
    async fn a_cleaning_that_a_process_has_not_done_is_done_by_the_next(db: TestDb) {
        let marker = "qzxmarker";
        // Removed without overwriting it, from more pages than a start uses again.
        let removed = format!(
            "create table removed (text text); insert into removed with recursive n (i) as \
             (select 1 union all select i + 1 from n where i < 5000) select '{marker} ' || i || ' {}' from n; \
             drop table removed",
            "x".repeat(100)
        );
        seed::execute(&db, &removed).await;
        let has_marker = || db.stored_bytes().windows(marker.len()).any(|window| window == marker.as_bytes());
        assert_eq!(has_marker(), db.backend() == Backend::Sqlite);

        let _server = TestServer::start(&db).await;

        wait_for("the files to be cleaned", async || (!has_marker()).then_some(())).await;
    }
);
