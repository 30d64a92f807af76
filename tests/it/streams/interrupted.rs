//! Attempts that fail after text was shown, replies that do not begin, and servers that stop.

use http::StatusCode;
use rejoinder::domain::clock::SystemClock;
use serde_json::json;

use super::{End, last_message, read_all, read_until, resume, stream_message, texts, types};
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::http2_client;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::{wait_for, within};
use crate::support::workspaces::{MINE, try_apply};

both_backends!(
    async fn text_of_a_failed_attempt_is_never_joined_with_the_next(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").start(&db).await;
        let gate = Gate::closed();
        let lost = Reply::cut("This is lost.").paused_by(&gate);
        server.model.script().queue([lost, Reply::text("This is the reply.")]);

        let mut stream = stream_message(&server, "Hi").await;
        let lost = read_until(&mut stream, "text-delta").await;
        gate.open();
        let (_, end) = read_all(&mut stream).await;
        let mut again = resume(&server).await;
        let (chunks, again_end) = read_all(&mut again).await;

        assert_eq!((texts(&lost), end), (vec!["This i".to_owned()], End::Cut));
        assert_eq!((texts(&chunks), again_end), (vec!["This is the reply.".to_owned()], End::Done));
        assert_eq!(chunks[0], lost[0], "the same message and turn");
        let message = last_message(&server).await;
        assert_eq!(
            (&message["id"], &message["text"]),
            (&chunks[0]["messageId"], &json!("This is the reply."))
        );
        assert_eq!(server.balance().await, "9.99");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_broken_off_has_no_clean_end_over_http_2_either() {
    let db = store::sqlite().await;
    let server = Setup::default().h2c().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").start(&db).await;
    let gate = Gate::closed();
    let lost = Reply::cut("This is lost.").paused_by(&gate);
    server.model.script().queue([lost, Reply::text("This is the reply.")]);
    let client = http2_client();
    let request = client.post(format!("{}/api/conversations/{WIDGET}/messages", server.url()));
    let request = request.header("accept", "text/event-stream").header("content-type", "application/json");

    let sent = request.body(json!({ "message": "Hi" }).to_string()).send();
    let mut stream = within("an answer", sent).await.unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("text-delta") {
        received.extend(within("a part of the stream", stream.chunk()).await.unwrap().unwrap());
    }
    gate.open();
    let end = loop {
        match within("the end of the stream", stream.chunk()).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };

    assert!(end.is_err(), "a clean end looks like success");
}

both_backends!(
    async fn a_turn_that_fails_for_good_ends_its_stream_with_an_error(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue([Reply::cut("Some text.")]);

        let mut stream = stream_message(&server, "Hi").await;
        let (chunks, end) = read_all(&mut stream).await;

        let expected =
            ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "error"];
        assert_eq!((types(&chunks), end), (expected.to_vec(), End::Done));
        let text = "Failed to process message: The model's answer could not be read";
        assert_eq!(chunks.last().unwrap()["errorText"], text);
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_model_that_thinks_without_an_opening_tag_is_remembered(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").start(&db).await;
        let thinking = || Reply::text("The visitor greets me.\n</think>\n\nHello!");
        let gate = Gate::closed();
        server.model.script().queue([thinking().paused_by(&gate), thinking(), thinking()]);

        let mut stream = stream_message(&server, "Hi").await;
        read_until(&mut stream, "text-delta").await;
        gate.open();
        assert_eq!(read_all(&mut stream).await.1, End::Cut);
        assert_eq!(texts(&read_all(&mut resume(&server).await).await.0), ["Hello!"]);
        let mut next = stream_message(&server, "Hi again").await;

        assert_eq!(texts(&read_all(&mut next).await.0), ["Hello!"]);
        assert_eq!(last_message(&server).await["text"], "Hello!");
    }
);

both_backends!(
    async fn a_model_that_wrote_a_closing_tag_for_one_workspace_streams_for_others(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "2").start(&db).await;
        let with_assistant = MINE.replace("\"mine\"", "\"other\"");
        try_apply(server.db(), &SystemClock, &server.tool, &with_assistant).await.unwrap();
        let tag = || Reply::text("As you wish:\n</think>\n\nThere.");
        let gate = Gate::closed();
        server.model.script().queue([tag(), tag(), Reply::text("Half and half.").paused_by(&gate)]);
        read_all(&mut stream_message(&server, "Write </think> on a line of its own").await).await;
        server.model.calls().wait_for_count(2).await;

        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" }).to_string();
        let request = server.request("POST", "/v1/messages").bearer(&server.keys.other_workspace);
        let mut stream = request.raw_json(body).stream().await;
        read_until(&mut stream, "text-delta").await;
        gate.open();

        assert_eq!(read_all(&mut stream).await.1, End::Done);
    }
);

both_backends!(
    async fn a_model_that_is_configured_to_begin_with_thoughts_shows_only_its_reply(db: TestDb) {
        let server = Setup::default().env("REJOINDER_MODEL__BEGINS_WITH_THOUGHTS", "true").start(&db).await;
        server.model.script().queue([Reply::text("The visitor greets me.\n</think>\n\nHello!")]);

        let mut stream = stream_message(&server, "Hi").await;
        let (chunks, end) = read_all(&mut stream).await;

        assert_eq!((texts(&chunks), end), (vec!["Hello!".to_owned()], End::Done));
    }
);

both_backends!(
    async fn the_first_text_comes_within_the_deadline_or_the_turn_fails(db: TestDb) {
        let server = Setup::default().env("REJOINDER_WIDGET__DEADLINE", "3s").start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([
            Reply::text("Never.").gated_by(&Gate::closed()),
            Reply::text("In time, and then slowly.").paused_by(&gate),
        ]);

        let mut silent = stream_message(&server, "Hi").await;
        let (chunks, _) = read_all(&mut silent).await;
        assert_eq!(chunks.last().unwrap()["errorText"], "Failed to process message: Connection timeout");
        assert_eq!(server.balance().await, "10.00");

        let mut slow = stream_message(&server, "Hi").await;
        let begun = std::time::Instant::now();
        read_until(&mut slow, "text-delta").await;
        wait_for("the deadline to pass", async || (begun.elapsed().as_secs() >= 4).then_some(())).await;
        gate.open();
        assert_eq!(read_all(&mut slow).await.1, End::Done);
        assert_eq!(last_message(&server).await["text"], "In time, and then slowly.");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_another_process_is_followed_through_the_store() {
    let db = store::postgres().await;
    let server = TestServer::start(&db).await;
    let peer = server.start_peer(&db, Setup::default()).await;
    let gate = Gate::closed();
    server.model.script().queue([Reply::text("From elsewhere.").paused_by(&gate)]);

    let mut stream = stream_message(&server, "Hi").await;
    let begun = read_until(&mut stream, "text-delta").await;
    let mut followed = resume(&peer).await;
    let start = read_until(&mut followed, "start").await;
    gate.open();
    let (chunks, end) = read_all(&mut followed).await;

    assert_eq!((&start[0], end), (&begun[0], End::Done));
    assert_eq!(texts(&chunks), ["From elsewhere."]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_waits_for_a_turn_of_another_process_comes_in_pieces() {
    let db = store::postgres().await;
    let server = TestServer::start(&db).await;
    let peer = server.start_peer(&db, Setup::default()).await;
    let (first, second) = (Gate::closed(), Gate::closed());
    server.model.script().queue([
        Reply::text("The first.").gated_by(&first),
        Reply::text("The second, in pieces.").paused_by(&second),
    ]);

    let mut running = stream_message(&server, "One").await;
    server.model.calls().wait_for_count(1).await;
    let mut waiting = stream_message(&peer, "Two").await;
    first.open();
    let (first_chunks, first_end) = read_all(&mut running).await;
    // The model has not written the rest yet.
    let begun = read_until(&mut waiting, "text-delta").await;
    second.open();
    let (rest, second_end) = read_all(&mut waiting).await;

    assert_eq!((first_end, second_end), (End::Done, End::Done));
    assert_eq!(texts(&first_chunks), ["The first."]);
    assert_ne!(texts(&begun), ["The second, in pieces."]);
    assert_eq!(texts(&[begun, rest].concat()), ["The second, in pieces."]);
    assert_eq!(last_message(&server).await["text"], "The second, in pieces.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_another_process_has_made_comes_with_its_calls() {
    let db = store::postgres().await;
    let server = TestServer::start(&db).await;
    let peer = server.start_peer(&db, Setup::default()).await;
    let call = ToolCall::new("write_note", &json!({ "text": "Call back" }));
    let gate = Gate::closed();
    server.model.script().queue([
        Reply::error(StatusCode::BAD_GATEWAY, "").gated_by(&gate),
        Reply::tool_calls([call]),
        Reply::text("Noted."),
    ]);

    let mut stream = stream_message(&server, "Keep a note").await;
    read_until(&mut stream, "start-step").await;
    server.model.calls().wait_for_count(1).await;
    // As a takeover by the other process.
    let take_over = "update turns set state = 'queued', owner = null, fence = fence + 1, takeovers = takeovers + 1, \
        stream_process = (select p.id from processes p where p.id <> owner)";
    seed::execute(&db, take_over).await;
    server.model.calls().wait_for_count(3).await;
    // The first process retries, and finds that the turn is no longer its own.
    gate.open();
    let (rest, end) = read_all(&mut stream).await;
    peer.stop().await;

    assert_eq!(end, End::Done);
    let calls = ["tool-input-available", "tool-output-available"];
    assert!(calls.iter().all(|kind| types(&rest).contains(kind)), "{rest:?}");
    assert_eq!(texts(&rest), ["Noted."]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_breaks_a_stream_off_and_the_next_one_makes_the_reply() {
    let db = store::sqlite().await;
    let stopping = || Setup::default().env("REJOINDER_SHUTDOWN_GRACE", "1s");
    let server = stopping().start(&db).await;
    server
        .model
        .script()
        .queue([Reply::text("Half of it.").paused_by(&Gate::closed()), Reply::text("All of it.")]);

    let mut stream = stream_message(&server, "Hi").await;
    let begun = read_until(&mut stream, "text-delta").await;
    let (end, server) =
        tokio::join!(async { read_all(&mut stream).await.1 }, server.restart(&db, stopping()));
    let con = server.conversation_id(WIDGET).await;
    let messages = server.wait_for_messages(&con, 3).await;

    assert_eq!(end, End::Cut);
    let reply = messages.last().unwrap();
    assert_eq!((&reply["id"], &reply["text"]), (&begun[0]["messageId"], &json!("All of it.")));
}
