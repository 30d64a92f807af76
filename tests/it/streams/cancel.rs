//! Replies that a client cancels.

use serde_json::{Value, json};

use super::{End, cancel, last_message, read_all, read_until, stream_message, texts, types};
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TEST, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

/// The id of the turn of a stream that has begun.
fn turn(chunks: &[Value]) -> String {
    chunks[0]["messageMetadata"]["turn_id"].as_str().unwrap().to_owned()
}

async fn wait_for_end_of_call(server: &TestServer) {
    wait_for("the call of the model to end", async || server.model.calls().all()[0].ended).await;
}

both_backends!(
    async fn a_reply_that_has_not_begun_is_discarded_and_refunded(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::text("Never.").gated_by(&Gate::closed())]);

        let mut stream = stream_message(&server, "Hi").await;
        server.model.calls().wait_for_count(1).await;
        assert!(cancel(&server, WIDGET, None).await);
        let (chunks, end) = read_all(&mut stream).await;

        assert_eq!((types(&chunks), end), (vec!["start", "start-step", "finish-step", "abort"], End::Done));
        wait_for_end_of_call(&server).await;
        assert_eq!(server.balance().await, "10.00");
        assert_eq!(server.wait_for_events("reply.discarded", 1).await[0]["data"]["reason"], "cancelled");
        assert!(!cancel(&server, WIDGET, Some(&turn(&chunks))).await, "it has ended");
    }
);

both_backends!(
    async fn a_client_that_waits_for_json_learns_that_its_reply_was_cancelled(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::text("Never.").paused_by(&Gate::closed())]);

        let (answer, is_cancelled) = tokio::join!(server.post_message(WIDGET, "Hi").send(), async {
            server.model.calls().wait_for_count(1).await;
            cancel(&server, WIDGET, None).await
        });

        let text = r#"{"status":false,"error":"Failed to process message: The reply was cancelled"}"#;
        assert_eq!((is_cancelled, answer.status, answer.text()), (true, 400, text));
        assert_eq!(answer.header("rejoinder-error"), Some("cancelled"));
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn text_that_was_shown_becomes_the_reply_and_is_charged(db: TestDb) {
        let server = TestServer::start(&db).await;
        let whole = "The first half, and the second half.";
        server.model.script().queue([Reply::text(whole).paused_by(&Gate::closed())]);

        let mut stream = stream_message(&server, "Hi").await;
        let mut chunks = read_until(&mut stream, "text-delta").await;
        let id = turn(&chunks);
        let (first, second) = tokio::join!(cancel(&server, WIDGET, Some(&id)), cancel(&server, WIDGET, None));
        chunks.extend(read_all(&mut stream).await.0);

        assert!(first || second);
        assert_eq!(types(&chunks)[3..], ["text-delta", "text-end", "finish-step", "abort"]);
        wait_for_end_of_call(&server).await;
        let message = last_message(&server).await;
        assert_eq!((&message["text"], &message["stopped"]), (&json!(texts(&chunks)[0]), &json!(true)));
        assert_eq!(message["id"], chunks[0]["messageId"]);
        assert!(whole.starts_with(&texts(&chunks)[0]));
        assert_eq!(server.balance().await, "9.99");
        assert_eq!(server.events("reply.discarded").await, Vec::<Value>::new());
        server.post_message(WIDGET, "Go on").send().await;
        let request = server.model.calls().all()[1].request.clone();
        let seen = request.last_text("assistant").unwrap();
        assert_eq!(seen, format!("{}\n\n(This reply was stopped here.)", texts(&chunks)[0]));
    }
);

both_backends!(
    async fn a_tool_call_that_was_sent_is_waited_for_and_journalled(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        let call = ToolCall::new("write_note", &json!({ "text": "Call back" }));
        server.model.script().queue([Reply::tool_calls([call])]);
        server.tool.script().queue([ToolReply::json(&json!({ "kept": true })).gated_by(&gate)]);

        let mut stream = stream_message(&server, "Keep a note").await;
        let begun = read_until(&mut stream, "tool-input-available").await;
        server.tool.calls().wait_for_count(1).await;
        let answer_once_stopped = async {
            let requested = "select count(*) from turns where is_stop_requested";
            let is_requested = async || (server.query_number(requested).await == 1).then_some(());
            wait_for("the request to stop", is_requested).await;
            gate.open();
        };
        let (is_cancelled, ()) = tokio::join!(cancel(&server, WIDGET, None), answer_once_stopped);
        let (rest, _) = read_all(&mut stream).await;

        assert!(is_cancelled);
        assert_eq!(types(&rest), ["tool-output-available", "finish-step", "abort"]);
        assert_eq!(server.model.calls().all().len(), 1, "the model is not called again");
        let trace = server.get(&format!("/v1/turns/{}", turn(&begun))).await.json()["data"].clone();
        assert_eq!((&trace["state"], &trace["reason"]), (&json!("discarded"), &json!("cancelled")));
        assert_eq!(trace["rounds"][0]["calls"][0]["result"], json!({ "kept": true }));
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn only_an_open_turn_of_the_conversation_is_cancelled(db: TestDb) {
        let server = TestServer::start(&db).await;
        assert!(!cancel(&server, WIDGET, None).await, "nothing runs");
        server.model.script().queue([Reply::text("One and two.").paused_by(&Gate::closed())]);
        let mut stream = stream_message(&server, "Hi").await;
        let begun = read_until(&mut stream, "text-delta").await;

        assert!(!cancel(&server, TEST, Some(&turn(&begun))).await, "it belongs to another conversation");
        assert!(!cancel(&server, WIDGET, Some("trn_none")).await);
        assert!(!cancel(&server, WIDGET, Some("trn_00000000000000000000000000")).await);
        let path = format!("/v1/turns/{}/cancel", turn(&begun));
        let foreign = server.request("POST", &path).bearer(&server.keys.other_workspace).send().await;
        let reading = server.request("POST", &path).bearer(&server.keys.read_only).send().await;
        let cancelled = server.request("POST", &path).bearer(&server.keys.full).send().await;
        let again = server.request("POST", &path).bearer(&server.keys.full).send().await;

        assert_eq!((foreign.status, reading.status, cancelled.status), (404, 403, 200));
        let data = cancelled.json()["data"].clone();
        assert_eq!((&data["cancelled"], &data["turn"]["state"]), (&json!(true), &json!("completed")));
        assert_eq!(again.json()["data"]["cancelled"], false);
        assert_eq!(read_all(&mut stream).await.1, End::Done);
    }
);

both_backends!(
    async fn the_widget_api_does_not_cancel_a_turn_of_the_platform_api(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("Kept.").gated_by(&gate)]);
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });
        server.enqueue(body.to_string()).send().await;
        server.model.calls().wait_for_count(1).await;

        assert!(!cancel(&server, WIDGET, None).await);
        gate.open();

        assert_eq!(server.wait_for_messages(&con, 3).await.last().unwrap()["text"], "Kept.");
    }
);

both_backends!(
    async fn a_turn_that_waits_for_another_is_cancelled_alone(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("First.").gated_by(&gate)]);
        let mut first = stream_message(&server, "One").await;
        server.model.calls().wait_for_count(1).await;
        let mut second = stream_message(&server, "Two").await;
        let begun = read_until(&mut second, "start").await;

        assert!(cancel(&server, WIDGET, Some(&turn(&begun))).await);
        let (rest, _) = read_all(&mut second).await;
        gate.open();

        assert_eq!(types(&rest), ["abort"]);
        assert_eq!(texts(&read_all(&mut first).await.0), ["First."]);
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn a_turn_whose_owner_died_before_it_stopped_it_is_not_run_again(db: TestDb) {
        let one_at_a_time = Setup::default().env("REJOINDER_TURN__MAX_IN_FLIGHT_PER_WORKSPACE", "1");
        let server = one_at_a_time.start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([Reply::text("First.").gated_by(&gate), Reply::text("Never.")]);
        let body = |text: &str| json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string();
        server.enqueue(body("one")).send().await;
        server.model.calls().wait_for_count(1).await;
        let balance = server.balance().await;
        server.enqueue(body("two")).send().await;

        // As after a takeover.
        seed::execute(&db, "update turns set is_stop_requested = true where state = 'queued'").await;
        gate.open();

        let discarded = server.wait_for_events("reply.discarded", 1).await;
        assert_eq!(discarded[0]["data"]["reason"], "cancelled");
        assert_eq!(server.model.calls().all().len(), 1, "the model is not called for it");
        assert_eq!(server.balance().await, balance);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_cancels_a_turn_and_its_owner_keeps_the_text() {
    let db = store::postgres().await;
    let server = TestServer::start(&db).await;
    let peer = server.start_peer(&db, Setup::default()).await;
    server.model.script().queue([Reply::text("Here and there.").paused_by(&Gate::closed())]);

    let mut stream = stream_message(&server, "Hi").await;
    let mut chunks = read_until(&mut stream, "text-delta").await;
    assert!(cancel(&peer, WIDGET, Some(&turn(&chunks))).await);
    chunks.extend(read_all(&mut stream).await.0);

    assert_eq!(types(&chunks).last(), Some(&"abort"));
    let message = last_message(&peer).await;
    assert_eq!((&message["text"], &message["stopped"]), (&json!(texts(&chunks)[0]), &json!(true)));
    assert_eq!(server.balance().await, "9.99");
}
