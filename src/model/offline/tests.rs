use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::{
    domain::{
        chat::{ChatMessage, ModelAnswer, ToolCall, ToolSpec},
        tool_loop::{CallResult, NextAction, ToolLoop, Toolbox, TurnLimits},
    },
    model::collect,
};

fn tool(name: &str, parameters: Value) -> ToolSpec {
    ToolSpec { name: name.to_owned(), description: String::new(), parameters }
}

fn tools() -> Vec<ToolSpec> {
    let order = json!({
        "type": "object",
        "properties": {"order_id": {"type": "string"}, "items": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["order_id", "items"],
    });
    vec![
        tool("check_calendar_availability", json!({})),
        tool("book_appointment", json!({})),
        tool("cancel_appointment", json!({})),
        tool("search_knowledge_base", json!({})),
        tool("get_order_status", order),
    ]
}

/// It is Wednesday, 25 November 2026, in Berlin (and still Tuesday in New York).
fn ask(messages: Vec<ChatMessage>) -> ModelAnswer {
    let now: Now = Arc::new(|| "2026-11-25T00:30:00+01:00".parse().unwrap());
    let model = Offline::new(now, TimeZone::get("Europe/Berlin").unwrap());
    let request = ChatRequest {
        model: String::new(),
        messages: messages.into(),
        tools: tools().into(),
        has_fallback: false,
        parameters: Map::new(),
    };
    collect(model.start(request)).now_or_never().unwrap().unwrap()
}

fn user(text: &str) -> ChatMessage {
    ChatMessage::User(text.to_owned())
}

/// A call that was made, and its result.
fn completed_call(name: &str, arguments: &Value, result: &Value) -> [ChatMessage; 2] {
    let id = format!("{name}{arguments}");
    let call = ToolCall { id: id.clone(), name: name.to_owned(), arguments: arguments.to_string() };
    [
        ChatMessage::Assistant { text: None, calls: vec![call], vendor: None },
        ChatMessage::Tool { call_id: id, content: result.to_string() },
    ]
}

fn offered() -> Vec<ChatMessage> {
    let slots = json!({
        "available_slots": ["2026-11-30 09:00", "2026-11-30 14:00", "2026-12-01 10:00"],
        "time_zone": "Europe/Berlin",
    });
    let mut messages = vec![user("What is free?")];
    messages.extend(completed_call("check_calendar_availability", &json!({}), &slots));
    messages
}

fn after(mut messages: Vec<ChatMessage>, text: &str) -> Vec<ChatMessage> {
    messages.push(user(text));
    messages
}

fn called(messages: Vec<ChatMessage>) -> (String, Value) {
    let answer = ask(messages);
    let [call] = &answer.calls[..] else { panic!("no call, but {:?}", answer.text) };
    (call.name.clone(), serde_json::from_str(&call.arguments).unwrap())
}

#[test]
fn free_times_are_looked_for_on_the_days_that_are_meant() {
    let cases = [
        ("What times are free for a demo next week?", "2026-11-30", "2026-12-04"),
        ("I would like to schedule a demo for next week", "2026-11-30", "2026-12-04"),
        ("Is anything free today?", "2026-11-25", "2026-11-25"),
        ("free times tomorrow", "2026-11-26", "2026-11-26"),
        ("available the day after tomorrow?", "2026-11-27", "2026-11-27"),
        ("Is Friday at 10 free?", "2026-11-27", "2026-11-27"),
        ("Any slots on Tuesday?", "2026-12-01", "2026-12-01"),
        ("Any slots next Friday?", "2026-12-04", "2026-12-04"),
        ("Which slots are there on 2026-12-01?", "2026-12-01", "2026-12-01"),
        ("slots from 2026-12-01 to 2026-12-03, please", "2026-12-01", "2026-12-03"),
        ("book me an appointment", "2026-11-25", "2026-12-01"),
        ("Any appointment next month?", "2026-12-01", "2026-12-31"),
    ];

    for (text, start, end) in cases {
        let expected =
            ("check_calendar_availability".to_owned(), json!({"start_date": start, "end_date": end}));
        assert_eq!(called(vec![user(text)]), expected, "{text}");
    }
}

#[test]
fn a_time_is_booked() {
    let cases = [
        (vec![], "book Tuesday at 10", "2026-12-01T10:00"),
        (vec![], "book 2026-12-01 10:00", "2026-12-01T10:00"),
        (vec![], "Please book 2026-12-01T10:30", "2026-12-01T10:30"),
        (vec![], "schedule tomorrow at 2", "2026-11-26T14:00"),
        (vec![], "Reserve Friday, 9:15 am", "2026-11-27T09:15"),
        (offered(), "2pm please", "2026-11-30T14:00"),
        (offered(), "Tuesday at 10 works", "2026-12-01T10:00"),
        (offered(), "the first one", "2026-11-30T09:00"),
        (offered(), "10:00", "2026-12-01T10:00"),
    ];

    for (history, text, start) in cases {
        let (name, arguments) = called(after(history, text));
        assert_eq!((name.as_str(), &arguments["start"]), ("book_appointment", &json!(start)), "{text}");
    }
    let (_, arguments) = called(vec![user("Book a demo on Tuesday at 10 for ann@example.com.")]);
    let expected = json!({"start": "2026-12-01T10:00", "title": "Demo", "email": "ann@example.com"});
    assert_eq!(arguments, expected);
}

#[test]
fn the_latest_active_booking_is_cancelled() {
    let mut history = Vec::new();
    for id in ["bok_1", "bok_2", "bok_3"] {
        history.extend(completed_call(
            "book_appointment",
            &json!({"n": id}),
            &json!({"success": true, "booking_id": id}),
        ));
    }
    history.extend(completed_call(
        "cancel_appointment",
        &json!({"booking_id": "bok_3"}),
        &json!({"success": true}),
    ));

    assert_eq!(called(after(history.clone(), "Cancel it")).1, json!({"booking_id": "bok_2"}));
    assert_eq!(called(after(history, "Please cancel bok_1!")).1, json!({"booking_id": "bok_1"}));
    assert!(ask(vec![user("cancel")]).text.unwrap().contains("no appointment"));
}

#[test]
fn a_question_changes_nothing() {
    let booking = json!({"success": true, "booking_id": "bkg_1"});
    let mut history = vec![user("Book it")];
    history.extend(completed_call("book_appointment", &json!({}), &booking));
    for question in ["What does it cost to cancel?", "Until when can I cancel?", "How do I cancel?"] {
        assert_eq!(called(after(history.clone(), question)).0, "search_knowledge_base", "{question}");
    }
    assert_eq!(called(after(history, "Can you cancel it, please?")).0, "cancel_appointment");
    assert_eq!(called(after(offered(), "Is 10:00 Berlin time?")).0, "search_knowledge_base");
    assert_eq!(called(after(offered(), "Can I book 10:00?")).0, "book_appointment");
}

#[test]
fn a_tool_is_called_by_its_whole_name_alone() {
    for said in ["get_order_statuses for A-17 2", "forget order status"] {
        assert_eq!(called(vec![user(said)]).0, "search_knowledge_base", "{said}");
    }
}

#[test]
fn other_tools_are_called_by_name_and_documents_are_searched() {
    let order = json!({"order_id": "A-17", "items": 2});
    let status = |text: &str| called(vec![user(text)]);
    assert_eq!(status("get_order_status for A-17 2"), ("get_order_status".to_owned(), order.clone()));
    assert_eq!(status("Get order status, order_id=A-17 items: 2").1, order);

    for question in [
        "How do I return shoes?",
        "Pricing",
        "How long does a demo take?",
        "Is there a calendar integration?",
        "What does it cost to cancel?",
    ] {
        let (name, arguments) = called(vec![user(question)]);
        assert_eq!(
            (name.as_str(), arguments),
            ("search_knowledge_base", json!({"query": question})),
            "{question}"
        );
    }
    for said in ["Hello there!", "Thank you very much", "What can you do?", "help"] {
        assert!(ask(vec![user(said)]).text.unwrap().contains("Here is what I can do"), "{said}");
    }
    assert_eq!(called(vec![user("I want to see a demo")]).0, "check_calendar_availability");
    assert_eq!(called(vec![user("When is a demo possible?")]).0, "check_calendar_availability");
}

#[test]
fn results_are_worded_and_every_reply_says_who_speaks() {
    let said = |name: &str, result: Value| {
        let mut messages = vec![user("Do it")];
        messages.extend(completed_call(
            name,
            &json!({"start_date": "2026-12-01", "end_date": "2026-12-04"}),
            &result,
        ));
        ask(messages).text.unwrap()
    };
    let cases = [
        (ask(offered()).text.unwrap(), "- Monday, 30 November: 09:00, 14:00\n- Tuesday, 1 December: 10:00"),
        (
            said("check_calendar_availability", json!({"available_slots": []})),
            "Nothing is free from Tuesday, 1",
        ),
        (
            said(
                "book_appointment",
                json!({"success": true, "booking_id": "b7", "start": "2026-12-01T10:00"}),
            ),
            "booked for Tuesday, 1 December, at 10:00. Its number is b7.",
        ),
        (
            said("book_appointment", json!({"error": "Taken", "available_slots": ["2026-12-01 11:00"]})),
            "That did not work: Taken. These times are free:\n- Tuesday, 1 December: 11:00",
        ),
        (said("cancel_appointment", json!({"success": true})), "Your appointment is cancelled."),
        (
            said(
                "search_knowledge_base",
                json!({"passages": [
                    {"source": "Returns", "heading": "Time", "text": "30 days."},
                    {"source": "Returns", "text": "In the box."},
                    {"source": "Shipping", "text": "Two days."},
                ]}),
            ),
            "“Returns” says:\n\n30 days.\n\nIn the box.\n\nSee also “Shipping”.",
        ),
        (
            said("search_knowledge_base", json!({"passages": []})),
            "nothing about that in our documents. Here is",
        ),
        (said("get_order_status", json!({"status": "sent"})), "`get_order_status` answered: status: sent"),
        (ask(vec![user("Hello")]).text.unwrap(), "Hello! Here is what I can do: look for free times"),
        (ask(vec![]).text.unwrap(), "Hello!"),
    ];

    for (text, expected) in cases {
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("offline demonstration model"), "{text}");
    }
}

#[test]
fn it_goes_through_the_tool_loop_as_any_model_does() {
    struct Anything;
    impl Toolbox for Anything {
        fn prepare(&self, _: &str, arguments: &Map<String, Value>) -> Result<Map<String, Value>, String> {
            Ok(arguments.clone())
        }
        fn is_repeatable(&self, _: &str) -> bool {
            true
        }
    }

    let mut turn = ToolLoop::new("trn_1", TurnLimits { max_rounds: 8, max_tool_calls: 32 });
    let (text, calls) = loop {
        match turn.next_action() {
            NextAction::CallModel { tail, .. } => {
                let mut messages = vec![user("What times are free for a demo next week?")];
                messages.extend(tail);
                turn.on_answer(ask(messages), &Anything);
            }
            NextAction::RunTools(calls) => {
                for call in calls {
                    let result = CallResult::new(json!({"available_slots": ["2026-11-30 09:00"]}));
                    turn.on_result(call.step, call.position, result);
                }
            }
            NextAction::Reply { text, calls, .. } => break (text, calls),
            NextAction::Fail(failure) => panic!("{failure:?}"),
        }
    };

    assert!(text.contains("Monday, 30 November: 09:00"));
    assert_eq!(calls[0].name, "check_calendar_availability");
    assert_eq!(calls[0].arguments["end_date"], "2026-12-04");
}

#[test]
fn a_text_comes_in_several_parts() {
    let parts = pieces("one two three four five");

    assert_eq!(parts, [Part::Text("one two three four ".to_owned()), Part::Text("five".to_owned())]);
}
