use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::{Map, json};
use uuid::Uuid;

use super::*;

const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::nil());
const TURN: TurnId = TurnId(Uuid::nil());

fn open(streams: &TurnStreams) -> (Arc<TurnStream>, TurnReader) {
    let reader = streams.open(WORKSPACE, TURN, None).keep().unwrap();
    (streams.get(TURN).unwrap(), reader)
}

fn call(id: &str) -> PlannedCall {
    PlannedCall { step: 0, position: 1, id: id.to_owned(), name: "find".to_owned(), arguments: Map::new() }
}

fn started(id: &str) -> TurnPart {
    let arguments = CallResult::new(json!({}));
    TurnPart::CallStarted { id: id.to_owned(), name: "find".to_owned(), arguments }
}

fn finished(id: &str) -> TurnPart {
    TurnPart::CallFinished { id: id.to_owned(), result: CallResult::new(json!({ "ok": true })) }
}

fn text(text: &str) -> TurnPart {
    TurnPart::Text(text.to_owned())
}

/// Everything up to the end, or to where the stream is broken off.
fn read_all(reader: &mut TurnReader) -> (Vec<TurnPart>, ReadOutcome) {
    let mut parts = Vec::new();
    loop {
        match reader.read() {
            ReadOutcome::Part(part) => parts.push(part),
            end @ (ReadOutcome::UpToDate | ReadOutcome::BrokenOff) => return (parts, end),
        }
    }
}

#[test]
fn a_late_reader_is_replayed_from_the_start_and_both_read_the_same_text() {
    let streams = TurnStreams::default();
    let (stream, mut early) = open(&streams);
    stream.begin();
    stream.start_round();
    stream.add_text("Let me ");
    assert_eq!(read_all(&mut early).0, [TurnPart::RoundStarted, text("Let me ")]);
    stream.add_text("look.");
    stream.start_call(&call("a"));
    stream.finish_call("a", CallResult::new(json!({ "ok": true })));
    stream.finish_call("a", CallResult::failed("once more"));
    stream.finish_call("b", CallResult::failed("unknown"));
    stream.start_round();
    stream.add_text("Here.");
    streams.close(TURN);

    let rest = [text("look."), started("a"), finished("a"), TurnPart::RoundStarted, text("Here.")];
    assert_eq!(read_all(&mut early), (rest.to_vec(), ReadOutcome::UpToDate));
    assert_eq!(early.last_text().unwrap().as_deref(), Some("Here."));
    let mut late = TurnReader::new(stream);
    let all = [[TurnPart::RoundStarted, text("Let me look.")].as_slice(), &rest[1..]].concat();
    assert_eq!(read_all(&mut late), (all, ReadOutcome::UpToDate));
    assert!(streams.get(TURN).is_none());
}

#[test]
fn text_of_a_failed_attempt_is_never_joined_with_the_next() {
    let streams = TurnStreams::default();
    let (stream, mut reader) = open(&streams);
    stream.begin();
    stream.start_round();
    stream.start_call(&call("a"));
    stream.finish_call("a", CallResult::new(json!({ "ok": true })));
    stream.start_round();
    stream.add_text("Half");
    assert_eq!(read_all(&mut reader).0.last(), Some(&text("Half")));

    stream.break_off();
    assert_eq!(read_all(&mut reader), (vec![], ReadOutcome::BrokenOff));
    assert!(reader.last_text().is_err(), "what was read is not the beginning of the reply");
    assert!(stream.has_had_text(), "its first text came in time");
    stream.start_round();
    stream.add_text("Whole");

    let mut next = TurnReader::new(Arc::clone(&stream));
    let all =
        vec![TurnPart::RoundStarted, started("a"), finished("a"), TurnPart::RoundStarted, text("Whole")];
    assert_eq!(read_all(&mut next), (all, ReadOutcome::UpToDate));
    stream.start_round();
    assert_eq!(read_all(&mut next).1, ReadOutcome::BrokenOff, "the next model is called in the same round");
}

#[test]
fn an_attempt_that_continues_from_the_journal_shows_its_rounds() {
    let streams = TurnStreams::default();
    let (stream, mut reader) = open(&streams);
    let round = |result| RoundSoFar { text: Some("Hm.".to_owned()), calls: vec![(call("a"), result)] };

    stream.resume([round(None)].into_iter());
    stream.resume([round(Some(CallResult::new(json!({ "ok": true }))))].into_iter());

    let all = vec![TurnPart::RoundStarted, text("Hm."), started("a"), finished("a")];
    assert_eq!(read_all(&mut reader), (all, ReadOutcome::UpToDate));
    stream.begin();
    assert_eq!(read_all(&mut reader).1, ReadOutcome::BrokenOff, "another process may have gone on");
}

#[test]
fn pieces_are_short_and_readers_are_woken() {
    let (stream, mut reader) = open(&TurnStreams::default());
    let mut context = Context::from_waker(Waker::noop());
    stream.start_round();
    assert_eq!(read_all(&mut reader).0.len(), 1);
    assert_eq!(pin!(reader.changed()).poll(&mut context), Poll::Ready(()));
    assert_eq!(pin!(reader.changed()).poll(&mut context), Poll::Pending);

    stream.add_text(&"ü".repeat(MAX_PIECE));

    assert_eq!(pin!(reader.changed()).poll(&mut context), Poll::Ready(()));
    assert_eq!(read_all(&mut reader).0, [text(&"ü".repeat(MAX_PIECE / 2)), text(&"ü".repeat(MAX_PIECE / 2))]);
}

#[test]
fn a_stream_that_reaches_its_bound_keeps_what_it_has_and_gives_its_bytes_back() {
    let streams = TurnStreams::default();
    let (stream, mut reader) = open(&streams);
    stream.start_round();
    for _ in 0..=MAX_BYTES.turn / MAX_PIECE {
        stream.add_text(&"x".repeat(MAX_PIECE));
    }

    let (parts, end) = read_all(&mut reader);

    assert_eq!(end, ReadOutcome::UpToDate, "the rest comes from the store");
    assert!(parts.len() <= MAX_BYTES.turn / MAX_PIECE + 1);
    assert_eq!(reader.last_text().unwrap().unwrap().len(), (parts.len() - 1) * MAX_PIECE);
    assert!(streams.reserved.lock().unwrap().total <= MAX_BYTES.turn + RESERVED);
    streams.close(TURN);
    drop((stream, reader));
    let reserved = streams.reserved.lock().unwrap();
    assert_eq!((reserved.total, reserved.by_workspace.len()), (0, 0));
}

#[test]
fn one_workspace_leaves_room_for_others() {
    let streams = TurnStreams::default();
    let mut open = Vec::new();
    for number in 0..20 {
        let turn = TurnId(Uuid::from_u128(number));
        open.push(streams.open(WORKSPACE, turn, None).keep().unwrap());
        let stream = streams.get(turn).unwrap();
        stream.start_round();
        stream.add_text(&"x".repeat(MAX_BYTES.turn / 2));
    }
    assert!(streams.reserved.lock().unwrap().total <= MAX_BYTES.workspace);

    let late = streams.open(WORKSPACE, TURN, None).keep().unwrap();
    late.stream().add_text(&"x".repeat(MAX_BYTES.turn / 2));
    assert!(late.stream().texts().is_empty() && late.stream().has_had_text(), "the turn is not overdue");

    let other = WorkspaceId(Uuid::from_u128(1));
    let mut reader = streams.open(other, TURN, None).keep().unwrap();
    reader.stream().start_round();
    reader.stream().add_text("Hello");
    assert_eq!(read_all(&mut reader), (vec![TurnPart::RoundStarted, text("Hello")], ReadOutcome::UpToDate));
}

#[test]
fn a_stream_whose_message_was_not_admitted_is_closed() {
    let streams = TurnStreams::default();
    let refused = streams.open(WORKSPACE, TURN, None);
    assert_eq!(streams.idle_turns(|_| false), [(WORKSPACE, TURN)]);

    drop(refused);

    assert!(streams.idle_turns(|_| false).is_empty());
}
