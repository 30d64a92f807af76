use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, TurnId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::turn::{Api, TurnRef, TurnState};

fn turn() -> Turn {
    Turn {
        workspace: WorkspaceId(Uuid::nil()),
        id: TurnId(Uuid::nil()),
        conversation: ConversationId(Uuid::nil()),
        position: 1,
        message: MessageId(Uuid::nil()),
        api: Api::Platform,
        state: TurnState::Running,
        owner: None,
        fence: 1,
        attempts: 0,
        takeovers: 0,
        not_before: Micros(0),
        admitted_at: Micros(0),
        first_started_at: None,
        deadline_at: None,
        price: Money(0),
        assistant: AssistantId(Uuid::nil()),
        assistant_version: 1,
        idempotency: None,
        reason: None,
        model_error: None,
        reply: None,
        ended_at: None,
        is_stop_requested: false,
        stream_process: None,
        key: None,
        retried_by: None,
    }
}

fn row(
    step: i64,
    position: i64,
    times: (i64, Option<i64>),
    content: &Value,
    result: Option<&str>,
) -> JournalRow {
    let turn = turn();
    JournalRow {
        turn: TurnRef { workspace: turn.workspace, conversation: turn.conversation, turn: turn.id },
        step,
        position,
        attempt: 1,
        started_at: Micros(times.0),
        finished_at: times.1.map(Micros),
        content: content.to_string(),
        result: result.map(str::to_owned),
    }
}

fn answer(calls: &Value) -> Value {
    let usage = json!({ "input": 10, "cached": 4, "output": 2, "reasoning": 1 });
    let answer = json!({ "text": "Let me see.", "calls": calls, "usage": usage });
    json!({ "connection": "default", "model": "m", "answer": answer })
}

#[test]
fn a_round_has_its_calls_in_the_models_order_and_what_became_of_each() {
    let requested = |name: &str| json!({ "id": "x", "name": name, "arguments": "{}" });
    let journal = [
        row(0, 0, (0, Some(2_000)), &answer(&json!([requested("a"), requested("b"), requested("c")])), None),
        row(
            0,
            1,
            (2_000, Some(5_000)),
            &json!({ "id": "i1", "name": "a", "arguments": { "z": 1, "b": 2 } }),
            Some(r#"{"ok":true}"#),
        ),
        row(0, 2, (2_000, None), &json!({ "id": "i2", "name": "b", "arguments": {} }), None),
    ];

    let trace = Trace::new(turn(), &journal, false);

    let [round] = &trace.rounds[..] else { panic!("{trace:?}") };
    assert_eq!((round.model_ref.model.as_str(), round.text.as_deref()), ("m", Some("Let me see.")));
    let [done, open, not_started] = &round.calls[..] else { panic!("{round:?}") };
    assert_eq!((done.id.as_str(), done.arguments.as_str()), ("i1", r#"{"z":1,"b":2}"#), "as they are kept");
    let execution = done.execution.as_ref().unwrap();
    assert_eq!(execution.time.duration(), Some(Duration::from_millis(3)));
    assert_eq!(execution.result.as_deref(), Some(r#"{"ok":true}"#));
    assert_eq!(open.execution.as_ref().unwrap().result, None);
    assert_eq!((not_started.name.as_str(), &not_started.execution), ("c", &None));
    assert!(not_started.id.ends_with("_0_3"), "{}", not_started.id);
}

#[test]
fn totals_are_of_all_rounds() {
    let call = json!([{ "id": "x", "name": "a", "arguments": "{}" }]);
    let journal = [
        row(0, 0, (0, Some(2_000)), &answer(&call), None),
        row(0, 1, (2_000, Some(5_000)), &json!({ "id": "i", "name": "a", "arguments": {} }), Some("{}")),
        row(1, 0, (5_000, Some(9_000)), &answer(&json!([])), None),
        row(2, 0, (9_000, Some(9_500)), &json!({ "unreadable": true }), None),
    ];

    let trace = Trace::new(turn(), &journal, false);

    assert_eq!(trace.rounds.len(), 2, "what cannot be read is left out");
    let Totals { usage, model_time, tool_time } = trace.totals();
    assert_eq!(usage, Usage { input: 20, cached: 8, output: 4, reasoning: 2 });
    assert_eq!((model_time, tool_time), (Duration::from_millis(6), Duration::from_millis(3)));
}

#[test]
fn a_call_reads_back_as_it_was_journalled() {
    let call = JournalledCall {
        id: "i".to_owned(),
        name: "a".to_owned(),
        arguments: Map::from_iter([("b".to_owned(), json!(1))]),
    };

    let stored = serde_json::to_string(&call).unwrap();

    assert_eq!(serde_json::from_str::<JournalledCall>(&stored).unwrap(), call);
}
