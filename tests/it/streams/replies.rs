//! What the readers of a stream get.

use serde_json::json;

use super::{End, last_message, read_all, read_until, resume, stream_message, texts, types};
use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::script::Gate;
use crate::support::server::{TestServer, WIDGET};

const CHUNKS: [&str; 14] = [
    "start",
    "start-step",
    "text-start",
    "text-delta",
    "text-end",
    "tool-input-available",
    "tool-output-available",
    "finish-step",
    "start-step",
    "text-start",
    "text-delta",
    "text-end",
    "finish-step",
    "finish",
];

fn rounds() -> [Reply; 2] {
    let call = ToolCall::new("get_order_status", &json!({ "order_id": "A7" }));
    [Reply::text_and_tool_calls("Let me look.", [call]), Reply::text("\n\0It has been shipped. 🦀 \n")]
}

both_backends!(
    async fn a_reply_is_streamed_round_by_round_and_ends_with_the_stored_text(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.model.script().queue(rounds());

        let mut stream = stream_message(&server, "Where is my order?").await;
        let (chunks, end) = read_all(&mut stream).await;

        assert_eq!((types(&chunks), end), (CHUNKS.to_vec(), End::Done));
        assert_eq!(stream.headers["content-type"], "text/event-stream");
        assert_eq!(stream.headers["x-vercel-ai-ui-message-stream"], "v1");
        assert_eq!(stream.headers["cache-control"], "no-store");
        assert_eq!(stream.headers["x-accel-buffering"], "no");
        let message = last_message(&server).await;
        assert_eq!(texts(&chunks), ["Let me look.", "It has been shipped. 🦀 \n"]);
        assert_eq!(message["text"], *texts(&chunks).last().unwrap());
        assert_eq!(message["earlier_texts"], json!(["Let me look."]));
        assert_eq!(chunks[0]["messageId"], message["id"]);
        let metadata = &chunks[0]["messageMetadata"];
        assert_eq!(metadata["conversation_id"], WIDGET);
        assert_eq!(metadata["user_message_id"], message["reply_to_message_id"]);
        assert_eq!(stream.headers["rejoinder-turn"], metadata["turn_id"].as_str().unwrap());
        let call = chunks.iter().find(|chunk| chunk["type"] == "tool-input-available").unwrap();
        assert_eq!(
            (&call["toolName"], &call["input"]),
            (&json!("get_order_status"), &json!({ "order_id": "A7" }))
        );
        let history = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await.json();
        let entry = history["history"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(entry["earlier_texts"], json!(["Let me look."]));
        assert_eq!(entry.get("stopped"), None);
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn the_platform_api_streams_and_resumes_the_same_reply(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        let con = server.conversation_id(WIDGET).await;
        server.model.script().queue([Reply::text("Half and half.").paused_by(&gate)]);
        let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });

        let mut stream = server.enqueue(body.to_string()).stream().await;
        let mut chunks = read_until(&mut stream, "text-delta").await;
        let turn = chunks[0]["messageMetadata"]["turn_id"].as_str().unwrap().to_owned();
        let path = format!("/v1/turns/{turn}/stream");
        let mut second = server.request("GET", &path).bearer(&server.keys.read_only).stream().await;
        read_until(&mut second, "text-delta").await;
        let other = server.request("GET", &path).bearer(&server.keys.other_workspace).stream().await;
        gate.open();
        chunks.extend(read_all(&mut stream).await.0);
        let (_, end) = read_all(&mut second).await;

        assert_eq!((other.status, end), (404, End::Done));
        assert_eq!(texts(&chunks), ["Half and half."]);
        assert_eq!(chunks[0]["messageMetadata"]["conversation_id"], con.as_str());
        assert_eq!(last_message(&server).await["id"], chunks[0]["messageId"]);
        let ended = server.request("GET", &path).bearer(&server.keys.full).stream().await;
        assert_eq!((ended.status, ended.text().await.as_str()), (204, ""));
    }
);

both_backends!(
    async fn a_reader_that_comes_back_in_the_middle_gets_the_reply_from_its_start(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        assert_eq!(resume(&server).await.status, 204);
        server.model.script().queue([Reply::text("The first half, the second half.").paused_by(&gate)]);

        let mut first = stream_message(&server, "Hi").await;
        let begun = read_until(&mut first, "text-delta").await;
        drop(first);
        let (mut second, mut third) = (resume(&server).await, resume(&server).await);
        assert_eq!(texts(&read_until(&mut second, "text-delta").await), texts(&begun));
        gate.open();
        let (_, end) = read_all(&mut second).await;
        let (chunks, _) = read_all(&mut third).await;

        assert_eq!(end, End::Done);
        assert_eq!(chunks[0], begun[0], "the same message and turn");
        assert_eq!(texts(&chunks), ["The first half, the second half."]);
        assert_eq!(last_message(&server).await["text"], texts(&chunks)[0].as_str());
        assert_eq!(resume(&server).await.status, 204);
    }
);

both_backends!(
    async fn a_stream_is_sent_only_where_it_is_asked_for_and_a_reply_is_made(db: TestDb) {
        let server = TestServer::start(&db).await;
        for accept in ["*/*", "application/json", "application/json, text/event-stream;q=0.5"] {
            let answer = server.post_message(WIDGET, "Hi").header("accept", accept).send().await;
            let json = r#"{"status":true,"message":"A reply of the fake model.","function_calls":[]}"#;
            assert_eq!((answer.status, answer.text()), (200, json), "{accept}");
        }

        let unknown = server.post_message("7c9e6679-7425-40de-944b-e07fc1f90aee", "Hi").stream().await;
        assert_eq!(unknown.status, 404);
        assert_eq!(unknown.text().await, r#"{"status":false,"error":"Conversation not found"}"#);
        let empty = server.post_message(WIDGET, " ").stream().await;
        assert_eq!(
            (empty.status, &empty.headers["content-type"]),
            (422, &"application/json".parse().unwrap())
        );
        let con = server.conversation_id(WIDGET).await;
        let body = json!({
            "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi", "auto_reply": false,
        });
        let unanswered = server.enqueue(body.to_string()).stream().await;
        assert_eq!(unanswered.headers["rejoinder-reason"], "auto_reply_off");
        assert!(unanswered.text().await.starts_with(r#"{"status":"success""#));
        let path = format!("/api/automate/conversations/{WIDGET}/disable-ai");
        server.request("POST", &path).bearer(&server.keys.full).send().await;
        let off = server.post_message(WIDGET, "Hi").stream().await;
        assert_eq!(
            off.text().await,
            r#"{"status":true,"message":"","function_calls":[],"ai_disabled":true}"#
        );
    }
);

both_backends!(
    async fn a_repeated_request_joins_the_running_stream_or_replays_the_finished_one(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        let [first, second] = rounds();
        server.model.script().queue([first, second.paused_by(&gate)]);
        let send = || server.post_message(WIDGET, "Where is it?").header("Idempotency-Key", "k");

        let mut first = send().stream().await;
        let mut begun = read_until(&mut first, "tool-output-available").await;
        let mut joined = send().stream().await;
        gate.open();
        begun.extend(read_all(&mut first).await.0);
        let (running, _) = read_all(&mut joined).await;
        let mut finished = send().stream().await;
        let (replayed, end) = read_all(&mut finished).await;
        let json = send().send().await;

        assert_eq!((types(&begun), end), (CHUNKS.to_vec(), End::Done));
        for (stream, chunks) in [(joined, running), (finished, replayed)] {
            assert_eq!(stream.headers["idempotent-replayed"], "true");
            assert_eq!((&chunks[0], texts(&chunks)), (&begun[0], texts(&begun)));
            assert_eq!(types(&chunks), CHUNKS);
        }
        assert_eq!(json.json()["message"], *texts(&begun).last().unwrap());
        assert_eq!(server.balance().await, "9.99");
    }
);

both_backends!(
    async fn a_reader_that_reads_nothing_delays_neither_the_turn_nor_others(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        let text = "A long reply. ".repeat(14_000) + "The end.";
        server.model.script().queue([Reply::text(&text).paused_by(&gate)]);
        let con = server.conversation_id(WIDGET).await;

        let mut slow = stream_message(&server, "Hi").await;
        let mut other = resume(&server).await;
        gate.open();
        let (chunks, end) = read_all(&mut other).await;
        server.wait_for_messages(&con, 3).await;
        let (late, late_end) = read_all(&mut slow).await;

        assert_eq!((end, late_end), (End::Done, End::Done));
        assert!(texts(&chunks) == [text.clone()] && texts(&late) == [text.clone()]);
        assert!(last_message(&server).await["text"] == text.as_str());
    }
);
