use serde_json::json;

use super::*;

/// Has the tools `find` (repeatable) and `pay` (not repeatable), both with a required string `what`.
struct Shop;

impl Toolbox for Shop {
    fn prepare(&self, name: &str, arguments: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        match (name, arguments.get("what")) {
            ("find" | "pay", Some(Value::String(_))) => {
                let mut declared = arguments.clone();
                declared.retain(|name, _| name == "what");
                Ok(declared)
            }
            ("find" | "pay", _) => Err("`what` must be a string".to_owned()),
            _ => Err(format!("There is no tool named `{name}`.")),
        }
    }

    fn is_repeatable(&self, name: &str) -> bool {
        name == "find"
    }
}

fn turn() -> ToolLoop {
    ToolLoop::new("trn_1", LIMITS)
}

fn text_answer(text: &str) -> ModelAnswer {
    ModelAnswer { text: Some(text.to_owned()), ..ModelAnswer::default() }
}

const LIMITS: TurnLimits = TurnLimits { max_rounds: 8, max_tool_calls: 32 };

fn tool_calls_answer(calls: &[(&str, &str)]) -> ModelAnswer {
    let calls = calls.iter().map(|(name, arguments)| ToolCall {
        id: "same-id".to_owned(),
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
    });
    ModelAnswer { text: None, calls: calls.collect(), ..ModelAnswer::default() }
}

fn planned(action: &NextAction) -> Vec<(&str, &str)> {
    let NextAction::RunTools(calls) = action else { panic!("expected tools to run: {action:?}") };
    calls.iter().map(|call| (call.id.as_str(), call.name.as_str())).collect()
}

fn result(value: Value) -> CallResult {
    CallResult::new(value)
}

const FIND: (&str, &str) = ("find", r#"{"what":"shoes"}"#);
const PAY: (&str, &str) = ("pay", r#"{"what":"shoes"}"#);

#[test]
fn a_turn_without_tools_makes_one_model_call_and_replies() {
    let mut turn = turn();
    assert_eq!(turn.next_action(), NextAction::CallModel { step: 0, tail: vec![] });

    turn.on_answer(text_answer("Hello"), &Shop);

    assert_eq!(
        turn.next_action(),
        NextAction::Reply { text: "Hello".to_owned(), calls: vec![], is_truncated: false }
    );
}

#[test]
fn a_tool_runs_and_its_result_is_returned_under_our_id() {
    let mut turn = turn();
    turn.on_answer(tool_calls_answer(&[FIND]), &Shop);
    assert_eq!(planned(&turn.next_action()), [("call_trn_1_0_1", "find")]);

    turn.on_result(0, 1, result(json!({"found": 2})));

    let call = ToolCall {
        id: "call_trn_1_0_1".to_owned(),
        name: "find".to_owned(),
        arguments: r#"{"what":"shoes"}"#.to_owned(),
    };
    let tail = vec![
        ChatMessage::Assistant { text: None, calls: vec![call], vendor: None },
        ChatMessage::Tool { call_id: "call_trn_1_0_1".to_owned(), content: r#"{"found":2}"#.to_owned() },
    ];
    assert_eq!(turn.next_action(), NextAction::CallModel { step: 1, tail });
}

#[test]
fn a_call_is_planned_and_shown_with_the_arguments_that_are_sent() {
    let requested = ("find", r#"{"what":"shoes","admin":true}"#);
    let mut turn = turn();
    turn.on_answer(tool_calls_answer(&[requested]), &Shop);

    let NextAction::RunTools(calls) = turn.next_action() else { panic!("no call") };
    turn.on_result(0, 1, result(json!({"found": 2})));
    turn.on_answer(text_answer("Two"), &Shop);

    let sent = json!({"what": "shoes"});
    assert_eq!(Value::Object(calls[0].arguments.clone()), sent);
    let NextAction::Reply { calls, .. } = turn.next_action() else { panic!("no reply") };
    assert_eq!(Value::Object(calls[0].arguments.clone()), sent);
}

#[test]
fn invalid_calls_return_an_error_to_the_model_and_never_run() {
    let invalid = [
        (("fly", "{}"), "There is no tool named `fly`.", json!({})),
        (("find", r#"{"what":"#), "The arguments are not valid JSON.", json!({})),
        (("find", "[1]"), "The arguments must be a JSON object.", json!({})),
        (("find", r#"{"what":1}"#), "`what` must be a string", json!({"what": 1})),
        (("find", ""), "`what` must be a string", json!({})),
    ];

    for (requested, error, arguments) in invalid {
        let mut turn = turn();
        turn.on_answer(tool_calls_answer(&[requested]), &Shop);
        assert!(matches!(turn.next_action(), NextAction::CallModel { step: 1, .. }), "{requested:?}");

        turn.on_answer(text_answer("Sorry"), &Shop);

        let NextAction::Reply { calls, .. } = turn.next_action() else { panic!("no reply") };
        let expected = json!({"name": requested.0, "arguments": arguments, "result": {"error": error}});
        assert_eq!(serde_json::to_value(&calls).unwrap(), json!([expected]));
    }
}

#[test]
fn results_are_always_objects() {
    let cases = [
        (CallResult::new(json!({"a": "x\0"})), json!({"a": "x"})),
        (CallResult::new(json!([1])), json!({"result": [1]})),
        (CallResult::new(Value::Null), json!({"result": null})),
        (CallResult::failed("The tool\0 timed out"), json!({"error": "The tool timed out"})),
    ];

    for (result, expected) in cases {
        assert_eq!(serde_json::from_str::<Value>(&result.to_string()).unwrap(), expected);
    }
}

#[test]
fn parallel_calls_keep_the_order_in_which_they_were_requested() {
    let mut turn = turn();
    turn.on_answer(tool_calls_answer(&[FIND, ("fly", "{}"), PAY]), &Shop);
    let expected = [("call_trn_1_0_1", "find"), ("call_trn_1_0_3", "pay")];
    assert_eq!(planned(&turn.next_action()), expected);

    turn.on_result(0, 3, result(json!("paid")));
    assert_eq!(planned(&turn.next_action()), expected[..1]);
    turn.on_result(0, 1, CallResult::failed("It broke"));
    turn.on_result(0, 1, result(json!("too late")));
    turn.on_answer(text_answer("Done"), &Shop);

    let NextAction::Reply { calls, .. } = turn.next_action() else { panic!("no reply") };
    let results: Vec<String> = calls.iter().map(|call| call.result.to_string()).collect();
    assert_eq!(
        results,
        [r#"{"error":"It broke"}"#, r#"{"error":"There is no tool named `fly`."}"#, r#"{"result":"paid"}"#]
    );
}

#[test]
fn an_endless_loop_ends_at_the_round_limit() {
    let mut turn = ToolLoop::new("trn_1", TurnLimits { max_rounds: 3, max_tool_calls: 32 });
    for step in 0..2 {
        turn.on_answer(tool_calls_answer(&[FIND]), &Shop);
        turn.on_result(step, 1, result(json!({})));
        assert!(matches!(turn.next_action(), NextAction::CallModel { .. }));
    }

    turn.on_answer(tool_calls_answer(&[FIND]), &Shop);

    assert_eq!(turn.next_action(), NextAction::Fail(Failure::TooManyToolCalls));
}

#[test]
fn no_call_of_a_round_that_exceeds_the_call_limit_runs() {
    let mut turn = ToolLoop::new("trn_1", TurnLimits { max_rounds: 8, max_tool_calls: 2 });
    turn.on_answer(tool_calls_answer(&[FIND, FIND]), &Shop);
    assert_eq!(planned(&turn.next_action()).len(), 2);
    turn.on_result(0, 1, result(json!({})));
    turn.on_result(0, 2, result(json!({})));

    turn.on_answer(tool_calls_answer(&[FIND]), &Shop);

    assert_eq!(turn.next_action(), NextAction::Fail(Failure::TooManyToolCalls));
}

#[test]
fn an_empty_answer_is_unreadable() {
    for empty in [ModelAnswer::default(), text_answer(""), text_answer(" \n")] {
        let mut turn = turn();
        turn.on_answer(empty, &Shop);

        assert_eq!(turn.next_action(), NextAction::Fail(Failure::ModelUnreadable));
    }
}

/// Replays each prefix of the journal of a complete turn.
#[test]
fn a_turn_resumes_from_every_prefix_of_its_journal() {
    let entry = |step, position, record| JournalEntry { step, position, record };
    let journal = [
        entry(0, 0, JournalRecord::Answer(tool_calls_answer(&[FIND, PAY]))),
        entry(0, 1, JournalRecord::Started),
        entry(0, 1, JournalRecord::Finished(result(json!({"found": 2})))),
        entry(0, 2, JournalRecord::Started),
        entry(0, 2, JournalRecord::Finished(result(json!({"paid": true})))),
        entry(1, 0, JournalRecord::Answer(text_answer("Done"))),
    ];
    let after = |count: usize| {
        let journal = journal[..count].to_vec();
        ToolLoop::replay("trn_1", LIMITS, &Shop, journal).next_action()
    };

    assert_eq!(after(0), NextAction::CallModel { step: 0, tail: vec![] });
    assert_eq!(planned(&after(1)), [("call_trn_1_0_1", "find"), ("call_trn_1_0_2", "pay")]);
    assert_eq!(planned(&after(2)), [("call_trn_1_0_1", "find"), ("call_trn_1_0_2", "pay")]);
    assert_eq!(planned(&after(3)), [("call_trn_1_0_2", "pay")]);
    let NextAction::CallModel { step: 1, tail } = after(4) else { panic!("expected a model call") };
    assert!(matches!(&tail[2], ChatMessage::Tool { content, .. } if content.contains("outcome")), "{tail:?}");
    let NextAction::CallModel { step: 1, tail } = after(5) else { panic!("expected a model call") };
    assert!(matches!(&tail[2], ChatMessage::Tool { content, .. } if content == r#"{"paid":true}"#));
    assert!(matches!(after(6), NextAction::Reply { text, calls, .. } if text == "Done" && calls.len() == 2));
}

#[test]
fn nul_characters_from_the_model_are_removed() {
    let mut turn = turn();
    turn.on_answer(tool_calls_answer(&[("find", r#"{"what":"a\u0000b"}"#)]), &Shop);

    let NextAction::RunTools(calls) = turn.next_action() else { panic!("expected tools to run") };
    assert_eq!(calls[0].arguments["what"], "ab");
}

#[test]
fn the_results_of_a_turn_share_a_mebibyte_and_each_has_at_least_four_kibibytes() {
    const MIB: usize = 1024 * 1024;
    let long = |max| CallResult::new("x".repeat(2 * MIB).into()).shortened(max);
    let mut turn = turn();
    turn.on_answer(tool_calls_answer(&[FIND, FIND, ("find", "{}")]), &Shop);
    let max = turn.max_result();
    assert!(max < MIB / 2 && max > MIB / 2 - 100, "{max}: two are open, the third has a short error");

    turn.on_result(0, 1, long(max));
    turn.on_result(0, 2, long(max));

    turn.on_answer(tool_calls_answer(&[FIND]), &Shop);
    assert_eq!(turn.max_result(), 4 * 1024);
    let NextAction::RunTools(calls) = turn.next_action() else { panic!("expected a tool to run") };
    turn.on_result(calls[0].step, 1, long(4 * 1024));
    turn.on_answer(text_answer("Done"), &Shop);
    let NextAction::Reply { calls, .. } = turn.next_action() else { panic!("expected a reply") };
    let bytes: usize = calls.iter().map(|call| call.result.to_string().len()).sum();
    assert!(bytes <= MIB + 4 * 1024 && bytes > MIB, "{bytes}");
}
