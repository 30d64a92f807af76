use serde_json::json;

use super::*;

const ROOMY: HistoryBounds = HistoryBounds { max_messages: 1000, max_tokens: 1_000_000 };

fn entry(position: i64, speaker: Speaker, text: &str) -> HistoryEntry {
    HistoryEntry { position, answers: None, speaker, text: text.to_owned(), calls: vec![] }
}

fn reply(position: i64, answers: i64, text: &str) -> HistoryEntry {
    HistoryEntry { answers: Some(answers), ..entry(position, Speaker::Assistant, text) }
}

fn user(text: &str) -> ChatMessage {
    ChatMessage::User(text.to_owned())
}

fn assistant(text: &str) -> ChatMessage {
    ChatMessage::Assistant { text: Some(text.to_owned()), calls: vec![], vendor: None }
}

/// `count` user messages at odd positions, each with its reply right after it.
fn conversation(count: i64, text: &str) -> Vec<HistoryEntry> {
    let pair = |n: i64| [entry(2 * n + 1, Speaker::User, text), reply(2 * n + 2, 2 * n + 1, text)];
    (0..count).flat_map(pair).collect()
}

#[test]
fn a_reply_follows_the_message_that_it_answers_and_later_messages_are_left_out() {
    let entries = vec![
        entry(1, Speaker::User, "one"),
        entry(2, Speaker::User, "two"),
        entry(3, Speaker::User, "three"),
        reply(4, 1, "to one"),
    ];

    let messages = build_history("Be kind", entries, 2, ROOMY);

    let system = ChatMessage::System("Be kind".to_owned());
    assert_eq!(messages, [system, user("one"), assistant("to one"), user("two")]);
}

#[test]
fn a_turn_never_sees_a_reply_to_its_own_message() {
    let entries = vec![entry(1, Speaker::User, "one"), reply(2, 1, "to one")];

    assert_eq!(build_history("", entries, 1, ROOMY), [user("one")]);
}

#[test]
fn each_speaker_maps_to_its_role() {
    let entries = vec![
        entry(1, Speaker::Assistant, "Welcome"),
        entry(2, Speaker::System, "The shop is closed"),
        entry(3, Speaker::Agent, "Ann here"),
        entry(4, Speaker::User, "hi"),
    ];

    let messages = build_history(" ", entries, 4, ROOMY);

    let system = ChatMessage::System("The shop is closed".to_owned());
    assert_eq!(messages, [assistant("Welcome"), system, assistant("Ann here"), user("hi")]);
}

#[test]
fn calls_of_an_earlier_reply_are_included_with_their_results() {
    let function_calls = json!([
        {"name": "find", "arguments": {"what": "shoes"}, "result": {"found": 2}},
        {"name": "pay", "arguments": {}},
        {"no": "call"},
    ]);
    let with_calls =
        HistoryEntry { calls: parse_function_calls(&function_calls), ..reply(2, 1, "Two pairs") };
    let entries = vec![entry(1, Speaker::User, "shoes?"), with_calls, entry(3, Speaker::User, "thanks")];

    let messages = build_history("", entries, 3, ROOMY);

    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    let result =
        |id: &str, content: &str| ChatMessage::Tool { call_id: id.to_owned(), content: content.to_owned() };
    let calls = vec![call("call_2_1", "find", r#"{"what":"shoes"}"#), call("call_2_2", "pay", "{}")];
    assert_eq!(messages[1], ChatMessage::Assistant { text: None, calls, vendor: None });
    assert_eq!(messages[2], result("call_2_1", r#"{"found":2}"#));
    assert_eq!(messages[3], result("call_2_2", UNAVAILABLE));
    assert_eq!(messages[4..], [assistant("Two pairs"), user("thanks")]);
    assert_eq!(arrange(messages.clone()), messages);
}

#[test]
fn the_newest_message_stays_whole_however_long() {
    let long = "x".repeat(100_000);
    let mut entries = conversation(50, "hello");
    entries.push(entry(101, Speaker::User, &long));

    let messages = build_history("prompt", entries, 101, HistoryBounds { max_messages: 10, max_tokens: 100 });

    assert_eq!(messages.first(), Some(&ChatMessage::System("prompt".to_owned())));
    assert_eq!(messages.last(), Some(&user(&long)));
    assert!((6..=12).contains(&messages.len()), "{}", messages.len());
}

#[test]
fn a_message_that_is_too_long_takes_what_is_older_with_it() {
    let mut entries = conversation(3, "hello");
    entries[2].text = "x".repeat(1000);
    entries.push(entry(7, Speaker::User, "now"));

    let messages = build_history("", entries, 7, HistoryBounds { max_messages: 10, max_tokens: 100 });

    assert_eq!(messages, [user("hello"), assistant("hello"), user("now")]);
}

#[test]
fn the_beginning_moves_seldom_and_never_leaves_less_than_half() {
    for text in ["short", &"long ".repeat(100)] {
        let bounds = HistoryBounds { max_messages: 40, max_tokens: 3_000 };
        let (mut moves, mut last_first) = (0, None);

        for turn in 0..200 {
            let mut entries = conversation(turn, text);
            let turn_position = 2 * turn + 1;
            entries.push(entry(turn_position, Speaker::User, text));
            for (entry, n) in entries.iter_mut().zip(0..) {
                entry.text = format!("{n:04}{text}");
            }

            let messages = build_history("", entries, turn_position, bounds);

            assert!(messages.len() <= bounds.max_messages + 1);
            assert!(turn < 30 || messages.len() >= 12, "turn {turn}: {}", messages.len());
            if last_first.as_ref() != messages.first() {
                moves += 1;
                last_first = messages.first().cloned();
            }
        }

        assert!(moves <= 50, "the cut moved {moves} times in 200 turns");
    }
}

#[test]
fn a_long_result_is_shortened_instead_of_its_exchange_dropped() {
    let result = json!({ "rows": "ü".repeat(20_000) });
    let call = FinishedCall {
        name: "find".to_owned(),
        arguments: Map::new(),
        result: CallResult::new(result.clone()),
    };
    let mut entries = conversation(2, "hello");
    entries[1].calls = vec![call.clone(), call];
    entries.push(entry(9, Speaker::User, "now"));

    let messages = build_history("", entries, 9, HistoryBounds { max_messages: 20, max_tokens: 1_000 });

    let results = messages.iter().filter_map(|message| match message {
        ChatMessage::Tool { content, .. } => Some(serde_json::from_str::<Value>(content).unwrap()),
        ChatMessage::System(_) | ChatMessage::User(_) | ChatMessage::Assistant { .. } => None,
    });
    let results: Vec<_> = results.collect();
    assert_eq!(results.len(), 2);
    let beginning = results[0]["beginning_of_result"].as_str().unwrap();
    assert!((495..=500).contains(&beginning.len()), "{}", beginning.len());
    let left_out = result.to_string().len() - beginning.len();
    assert_eq!(results[0]["note"], format!("{left_out} bytes were left out"));
}

#[test]
fn the_newest_instructions_stay_when_their_exchange_is_dropped() {
    let mut entries = conversation(30, "hello");
    entries[0] = entry(0, Speaker::System, &"x".repeat(MAX_OLD_INSTRUCTIONS));
    entries[2] = entry(2, Speaker::System, "Offer 10 % off.");
    entries[4] = entry(4, Speaker::System, "Be brief.");
    entries.push(entry(101, Speaker::User, "now"));

    let messages =
        build_history("prompt", entries, 101, HistoryBounds { max_messages: 10, max_tokens: 10_000 });

    let system = |text: &str| ChatMessage::System(text.to_owned());
    assert_eq!(messages[..3], [system("prompt"), system("Offer 10 % off."), system("Be brief.")]);
    assert!(!messages[3..].iter().any(|message| matches!(message, ChatMessage::System(_))));
}
