use serde_json::json;

use super::*;
use crate::domain::chat::Usage;

/// Knows `find` (repeatable) and `pay` (not), both with a required string `what`.
struct Shop;

impl Toolbox for Shop {
    fn check(&self, name: &str, arguments: &Map<String, Value>) -> Result<(), String> {
        match (name, arguments.get("what")) {
            ("find" | "pay", Some(Value::String(_))) => Ok(()),
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

fn says(text: &str) -> ModelAnswer {
    ModelAnswer { text: Some(text.to_owned()), ..ModelAnswer::default() }
}

const LIMITS: TurnLimits = TurnLimits { max_rounds: 8, max_tool_calls: 32 };

fn asks(calls: &[(&str, &str)]) -> ModelAnswer {
    let calls = calls.iter().map(|(name, arguments)| ToolCall {
        id: "same-id".to_owned(),
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
    });
    ModelAnswer { text: None, calls: calls.collect(), usage: Usage::default() }
}

fn planned(step: &Step) -> Vec<(&str, &str)> {
    let Step::RunTools(calls) = step else { panic!("no tools are to be run: {step:?}") };
    calls.iter().map(|call| (call.id.as_str(), call.name.as_str())).collect()
}

fn result(value: Value) -> CallResult {
    CallResult::new(value)
}

const FIND: (&str, &str) = ("find", r#"{"what":"shoes"}"#);
const PAY: (&str, &str) = ("pay", r#"{"what":"shoes"}"#);

#[test]
fn a_turn_without_tools_is_one_model_call_and_a_reply() {
    let mut turn = turn();
    assert_eq!(turn.next(), Step::CallModel { step: 0, tail: vec![] });

    turn.on_answer(says("Hello"), &Shop);

    assert_eq!(turn.next(), Step::Reply { text: "Hello".to_owned(), calls: vec![] });
}

#[test]
fn a_tool_is_run_and_its_result_goes_back_under_our_id() {
    let mut turn = turn();
    turn.on_answer(asks(&[FIND]), &Shop);
    assert_eq!(planned(&turn.next()), [("call_trn_1_0_1", "find")]);

    turn.on_result(0, 1, result(json!({"found": 2})));

    let call = ToolCall {
        id: "call_trn_1_0_1".to_owned(),
        name: "find".to_owned(),
        arguments: r#"{"what":"shoes"}"#.to_owned(),
    };
    let tail = vec![
        ChatMessage::Assistant { text: None, calls: vec![call] },
        ChatMessage::Tool { call_id: "call_trn_1_0_1".to_owned(), content: r#"{"found":2}"#.to_owned() },
    ];
    assert_eq!(turn.next(), Step::CallModel { step: 1, tail });
}

#[test]
fn faults_of_the_model_are_results_for_it_and_never_run() {
    let faulty = [
        (("fly", "{}"), "There is no tool named `fly`.", json!({})),
        (("find", r#"{"what":"#), "The arguments are not valid JSON.", json!({})),
        (("find", "[1]"), "The arguments must be a JSON object.", json!({})),
        (("find", r#"{"what":1}"#), "`what` must be a string", json!({"what": 1})),
        (("find", ""), "`what` must be a string", json!({})),
    ];

    for (asked, fault, arguments) in faulty {
        let mut turn = turn();
        turn.on_answer(asks(&[asked]), &Shop);
        assert!(matches!(turn.next(), Step::CallModel { step: 1, .. }), "{asked:?}");

        turn.on_answer(says("Sorry"), &Shop);

        let Step::Reply { calls, .. } = turn.next() else { panic!("no reply") };
        let shown = json!({"name": asked.0, "arguments": arguments, "result": {"error": fault}});
        assert_eq!(serde_json::to_value(&calls).unwrap(), json!([shown]));
    }
}

#[test]
fn results_are_objects_whatever_a_tool_gives() {
    let given = [
        (CallResult::new(json!({"a": "x\0"})), json!({"a": "x"})),
        (CallResult::new(json!([1])), json!({"result": [1]})),
        (CallResult::new(Value::Null), json!({"result": null})),
        (CallResult::failed("The tool\0 timed out"), json!({"error": "The tool timed out"})),
    ];

    for (result, shown) in given {
        assert_eq!(serde_json::from_str::<Value>(&result.to_string()).unwrap(), shown);
    }
}

#[test]
fn parallel_calls_are_shown_in_the_order_in_which_they_were_asked() {
    let mut turn = turn();
    turn.on_answer(asks(&[FIND, ("fly", "{}"), PAY]), &Shop);
    let expected = [("call_trn_1_0_1", "find"), ("call_trn_1_0_3", "pay")];
    assert_eq!(planned(&turn.next()), expected);

    turn.on_result(0, 3, result(json!("paid")));
    assert_eq!(planned(&turn.next()), expected[..1]);
    turn.on_result(0, 1, CallResult::failed("It broke"));
    turn.on_result(0, 1, result(json!("too late")));
    turn.on_answer(says("Done"), &Shop);

    let Step::Reply { calls, .. } = turn.next() else { panic!("no reply") };
    let results: Vec<String> = calls.iter().map(|call| call.result.to_string()).collect();
    assert_eq!(
        results,
        [r#"{"error":"It broke"}"#, r#"{"error":"There is no tool named `fly`."}"#, r#"{"result":"paid"}"#]
    );
}

#[test]
fn an_endless_loop_ends_at_the_last_round() {
    let mut turn = ToolLoop::new("trn_1", TurnLimits { max_rounds: 3, max_tool_calls: 32 });
    for step in 0..2 {
        turn.on_answer(asks(&[FIND]), &Shop);
        turn.on_result(step, 1, result(json!({})));
        assert!(matches!(turn.next(), Step::CallModel { .. }));
    }

    turn.on_answer(asks(&[FIND]), &Shop);

    assert_eq!(turn.next(), Step::Fail(Failure::TooManyToolCalls));
}

#[test]
fn a_call_over_the_limit_runs_none_of_its_round() {
    let mut turn = ToolLoop::new("trn_1", TurnLimits { max_rounds: 8, max_tool_calls: 2 });
    turn.on_answer(asks(&[FIND, FIND]), &Shop);
    assert_eq!(planned(&turn.next()).len(), 2);
    turn.on_result(0, 1, result(json!({})));
    turn.on_result(0, 2, result(json!({})));

    turn.on_answer(asks(&[FIND]), &Shop);

    assert_eq!(turn.next(), Step::Fail(Failure::TooManyToolCalls));
}

#[test]
fn an_empty_answer_is_unreadable() {
    for empty in [ModelAnswer::default(), says(""), says(" \n")] {
        let mut turn = turn();
        turn.on_answer(empty, &Shop);

        assert_eq!(turn.next(), Step::Fail(Failure::ModelUnreadable));
    }
}

/// Journals what a whole turn tells, and replays each beginning of it.
#[test]
fn a_turn_goes_on_from_every_point_of_its_journal() {
    let entry = |step, position, record| JournalEntry { step, position, record };
    let journal = [
        entry(0, 0, Record::Answer(asks(&[FIND, PAY]))),
        entry(0, 1, Record::Started),
        entry(0, 1, Record::Finished(result(json!({"found": 2})))),
        entry(0, 2, Record::Started),
        entry(0, 2, Record::Finished(result(json!({"paid": true})))),
        entry(1, 0, Record::Answer(says("Done"))),
    ];
    let after = |count: usize| {
        let journal = journal[..count].to_vec();
        ToolLoop::replay("trn_1", LIMITS, &Shop, journal).next()
    };

    assert_eq!(after(0), Step::CallModel { step: 0, tail: vec![] });
    assert_eq!(planned(&after(1)), [("call_trn_1_0_1", "find"), ("call_trn_1_0_2", "pay")]);
    assert_eq!(planned(&after(2)), [("call_trn_1_0_1", "find"), ("call_trn_1_0_2", "pay")]);
    assert_eq!(planned(&after(3)), [("call_trn_1_0_2", "pay")]);
    let Step::CallModel { step: 1, tail } = after(4) else { panic!("the model is not asked") };
    assert!(matches!(&tail[2], ChatMessage::Tool { content, .. } if content.contains("outcome")), "{tail:?}");
    let Step::CallModel { step: 1, tail } = after(5) else { panic!("the model is not asked") };
    assert!(matches!(&tail[2], ChatMessage::Tool { content, .. } if content == r#"{"paid":true}"#));
    assert!(matches!(after(6), Step::Reply { text, calls } if text == "Done" && calls.len() == 2));
}

#[test]
fn nul_from_the_model_reaches_no_tool() {
    let mut turn = turn();
    turn.on_answer(asks(&[("find", r#"{"what":"a\u0000b"}"#)]), &Shop);

    let Step::RunTools(calls) = turn.next() else { panic!("no tools are to be run") };
    assert_eq!(calls[0].arguments["what"], "ab");
}
