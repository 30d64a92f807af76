//! Two processes on one PostgreSQL database: each runs the turns for which the other has no slot.

use serde_json::json;

use crate::support::db::TestDb;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;

/// A database, and a process on it with so few slots that one running turn of the widget API fills them.
async fn small() -> (TestDb, TestServer) {
    let db = store::postgres().await;
    let server = Setup::default().env("REJOINDER_TURN__MAX_IN_FLIGHT", "2").system_clock().start(&db).await;
    (db, server)
}

fn hold_the_text(server: &TestServer, text: &'static str) -> Gate {
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    server.model.script().respond_with(move |request: &ModelRequest| {
        let prompt = request.prompt().unwrap();
        let reply = Reply::text(&format!("re: {prompt}"));
        if prompt == text { reply.gated_by(&reply_gate) } else { reply }
    });
    gate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_without_a_slot_in_one_process_runs_in_the_other() {
    let (db, first) = small().await;
    let gate = hold_the_text(&first, "held");
    let body = |text: &str| json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string();
    first.enqueue(body("held")).send().await;
    first.model.calls().wait_for_count(1).await;

    let queued = first.enqueue(body("queued")).send().await;
    let turn = queued.header("rejoinder-turn").unwrap();
    let turn_body = first.get(&format!("/v1/turns/{turn}")).await.json();
    assert_eq!(turn_body["data"]["state"], "queued");
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let json = queued.json();
    let messages = second.wait_for_messages(json["data"]["conversation_id"].as_str().unwrap(), 2).await;

    assert_eq!(messages[1]["text"], "re: queued");
    gate.open();
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_widget_request_at_one_process_gets_the_reply_of_the_other() {
    let (db, first) = small().await;
    let gate = hold_the_text(&first, "held");
    let blocked = first.create_conversation().await;

    let (answered, (waited, second)) = tokio::join!(first.post_message(&blocked, "held").send(), async {
        first.model.calls().wait_for_count(1).await;
        let (waited, second) = tokio::join!(first.post_message(WIDGET, "Hi").send(), async {
            first.wait_for_events("message.created", 2).await;
            first.start_peer(&db, Setup::default().system_clock()).await
        });
        gate.open();
        (waited, second)
    });

    assert_eq!(waited.text(), r#"{"status":true,"message":"re: Hi","function_calls":[]}"#);
    assert_eq!(answered.text(), r#"{"status":true,"message":"re: held","function_calls":[]}"#);
    assert_eq!(first.balance().await, "9.98");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_changes_holds_in_the_other_at_once() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let con = first.conversation_id(WIDGET).await;
    // Both know the conversation, its messages and its settings.
    for (nth, server) in [&first, &second, &first, &second].into_iter().enumerate() {
        let text = format!("message {nth}");
        assert_eq!(server.post_message(WIDGET, &text).send().await.status, 200);
        let calls = server.model.calls().all();
        let history = calls.last().unwrap().request.body["messages"].to_string();
        assert!((0..=nth).all(|nth| history.contains(&format!("message {nth}"))), "{history}");
    }
    seed::configure(&db, "update workspaces set price_widget = 20000").await;
    let before = first.balance().await;
    second.post_message(WIDGET, "at the new price").send().await;
    let after = first.balance().await;
    assert_eq!((before.as_str(), after.as_str()), ("9.96", "9.94"));

    let renewed = second.request("POST", &format!("/v1/conversations/{con}/widget_link"));
    let renewed = renewed.bearer(&second.keys.full).json(&json!({})).send().await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());

    assert_eq!(first.post_message(WIDGET, "by the old link").send().await.status, 404);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_one_conversation_keep_their_order_across_processes() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let con = first.conversation_id(WIDGET).await;

    for (nth, server) in [&first, &second, &first, &second].into_iter().enumerate() {
        let text = format!("{nth}");
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": text });
        assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
    }
    first.wait_for_messages(&con, 9).await;

    let calls = first.model.calls();
    let asked: Vec<_> = calls.all().iter().map(|call| call.request.prompt().unwrap()).collect();
    assert_eq!(asked, ["0", "1", "2", "3"]);
    assert_eq!(calls.overlaps(|_| Some(())), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_the_ai_at_one_process_ends_the_turn_at_the_other() {
    let db = store::postgres().await;
    let first = Setup::default().system_clock().start(&db).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;
    let gate = hold_the_text(&first, "Hi");

    let (waited, ()) = tokio::join!(first.post_message(WIDGET, "Hi").send(), async {
        first.model.calls().wait_for_count(1).await;
        let path = format!("/api/automate/conversations/{WIDGET}/disable-ai");
        let off = second.request("POST", &path).bearer(&second.keys.full).send().await;
        assert_eq!(off.status, 200);
    });

    assert_eq!(waited.json()["ai_disabled"], true);
    assert_eq!(second.balance().await, "10.00");
    let hung_up = async || first.model.calls().all()[0].ended;
    crate::support::wait::wait_for("the call to be dropped", hung_up).await;
    gate.open();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_process_hands_its_turns_to_the_other() {
    let db = store::postgres().await;
    let first = Setup::default().env("REJOINDER_SHUTDOWN_GRACE", "100ms").system_clock().start(&db).await;
    let gate = Gate::closed();
    first.model.script().queue([Reply::text("Never seen.").gated_by(&gate), Reply::text("Seen.")]);
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" });
    let sent = first.enqueue(body.to_string()).send().await.json();
    first.model.calls().wait_for_count(1).await;
    let second = first.start_peer(&db, Setup::default().system_clock()).await;

    first.stop().await;

    let con = sent["data"]["conversation_id"].as_str().unwrap();
    assert_eq!(second.wait_for_messages(con, 2).await[1]["text"], "Seen.");
}
