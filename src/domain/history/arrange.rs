//! The order of roles that every chat template accepts: one leading system message, then user and assistant by turns,
//! beginning with the user. The templates of Mistral, Gemma and Llama 2 refuse any other order; those of Qwen refuse a
//! system message in any other place.

use std::collections::HashMap;

use super::UNAVAILABLE;
use crate::domain::chat::ChatMessage;

/// Separates the texts of messages that are merged.
const SEPARATOR: &str = "\n\n";
/// Precedes the system messages of a conversation in the system prompt. Only they are there, so no text of a visitor can
/// pass for an instruction.
const INSTRUCTIONS: &str = "Instructions that were added during the conversation, oldest first:";
/// The user's part where the assistant speaks first.
const OPENING: &str = "(The conversation begins.)";
/// The user's part where the assistant speaks again.
const CONTINUE: &str = "(Please continue.)";
/// The assistant's part after the results of calls without a reply.
const NO_REPLY: &str = "(No reply was sent.)";

/// Arranges messages for endpoints. Nothing is lost: system messages after the first move into it, neighbours of one role
/// are merged, and a fixed note stands in where a role is missing. Each tool call has one result, in order, directly after
/// it; results without a call are removed. The last message is of the user, or the result of a call.
pub fn arrange(messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut system: Vec<String> = Vec::new();
    let mut arranged: Vec<ChatMessage> = Vec::with_capacity(messages.len() + 1);
    let mut rest = messages.into_iter().peekable();
    while let Some(message) = rest.next() {
        match message {
            ChatMessage::System(text) => system.push(text),
            ChatMessage::User(text) => push_user(&mut arranged, text),
            // Its results follow it; any other result has no call.
            ChatMessage::Tool { .. } => {}
            ChatMessage::Assistant { text, calls, .. } if calls.is_empty() => {
                push_text(&mut arranged, text.unwrap_or_default());
            }
            ChatMessage::Assistant { text, calls, vendor } => {
                let mut results = HashMap::new();
                while let Some(ChatMessage::Tool { call_id, content }) =
                    rest.next_if(|next| matches!(next, ChatMessage::Tool { .. }))
                {
                    results.entry(call_id).or_insert(content);
                }
                begin_assistant(&mut arranged);
                let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
                arranged.push(ChatMessage::Assistant { text, calls, vendor });
                arranged.extend(ids.into_iter().map(|call_id| {
                    let content = results.remove(&call_id).unwrap_or_else(|| UNAVAILABLE.to_owned());
                    ChatMessage::Tool { call_id, content }
                }));
            }
        }
    }
    if matches!(arranged.last(), None | Some(ChatMessage::Assistant { .. })) {
        push_user(&mut arranged, CONTINUE.to_owned());
    }
    if system.len() > 1 {
        // The prompt contains variables, which a visitor may have set.
        system[0] = system[0].replace(INSTRUCTIONS, "");
        system.insert(1, INSTRUCTIONS.to_owned());
    }
    if !system.is_empty() {
        arranged.insert(0, ChatMessage::System(system.join(SEPARATOR)));
    }
    arranged
}

fn push_user(arranged: &mut Vec<ChatMessage>, text: String) {
    match arranged.last_mut() {
        Some(ChatMessage::User(last)) => append(last, &text),
        Some(ChatMessage::Tool { .. }) => {
            push_text(arranged, NO_REPLY.to_owned());
            arranged.push(ChatMessage::User(text));
        }
        Some(ChatMessage::Assistant { .. } | ChatMessage::System(_)) | None => {
            arranged.push(ChatMessage::User(text));
        }
    }
}

/// Pushes a text of the assistant.
fn push_text(arranged: &mut Vec<ChatMessage>, text: String) {
    if let Some(ChatMessage::Assistant { text: Some(last), .. }) = arranged.last_mut() {
        append(last, &text);
        return;
    }
    begin_assistant(arranged);
    arranged.push(ChatMessage::Assistant { text: Some(text), calls: Vec::new(), vendor: None });
}

/// Ensures that a message of the assistant may follow.
fn begin_assistant(arranged: &mut Vec<ChatMessage>) {
    match arranged.last() {
        None => arranged.push(ChatMessage::User(OPENING.to_owned())),
        Some(ChatMessage::Assistant { .. }) => arranged.push(ChatMessage::User(CONTINUE.to_owned())),
        Some(ChatMessage::User(_) | ChatMessage::Tool { .. } | ChatMessage::System(_)) => {}
    }
}

fn append(text: &mut String, more: &str) {
    text.push_str(SEPARATOR);
    text.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::ToolCall;

    fn system(text: &str) -> ChatMessage {
        ChatMessage::System(text.to_owned())
    }

    fn user(text: &str) -> ChatMessage {
        ChatMessage::User(text.to_owned())
    }

    fn assistant(text: &str) -> ChatMessage {
        ChatMessage::Assistant { text: Some(text.to_owned()), calls: vec![], vendor: None }
    }

    fn calls(text: Option<&str>, ids: &[&str]) -> ChatMessage {
        let call =
            |id: &&str| ToolCall { id: (*id).to_owned(), name: "t".to_owned(), arguments: "{}".to_owned() };
        let calls = ids.iter().map(call).collect();
        ChatMessage::Assistant { text: text.map(str::to_owned), calls, vendor: None }
    }

    fn result(id: &str, content: &str) -> ChatMessage {
        ChatMessage::Tool { call_id: id.to_owned(), content: content.to_owned() }
    }

    /// What the templates of Mistral, Gemma and Qwen check.
    fn assert_accepted(messages: &[ChatMessage]) {
        let is_system = |message: &&ChatMessage| matches!(message, ChatMessage::System(_));
        let rest = &messages[usize::from(messages.first().is_some_and(|first| is_system(&first)))..];
        let mut is_user = true;
        for message in rest {
            match message {
                ChatMessage::System(_) => panic!("a system message in the middle: {messages:?}"),
                ChatMessage::Tool { .. } => {}
                ChatMessage::Assistant { calls, .. } if !calls.is_empty() => {}
                ChatMessage::User(_) | ChatMessage::Assistant { .. } => {
                    assert_eq!(matches!(message, ChatMessage::User(_)), is_user, "{messages:?}");
                    is_user = !is_user;
                }
            }
        }
        assert!(
            matches!(messages.last(), Some(ChatMessage::User(_) | ChatMessage::Tool { .. })),
            "{messages:?}"
        );
    }

    fn assert_arranged<const N: usize>(cases: [(&str, Vec<ChatMessage>, Vec<ChatMessage>); N]) {
        for (what, messages, arranged) in cases {
            assert_eq!(arrange(messages), arranged, "{what}");
            assert_accepted(&arranged);
        }
    }

    #[test]
    fn every_order_is_arranged_so_that_templates_accept_it() {
        let cases = [
            (
                "a greeting",
                vec![system("s"), assistant("Welcome"), user("hi")],
                vec![system("s"), user(OPENING), assistant("Welcome"), user("hi")],
            ),
            (
                "a system message in mid-conversation",
                vec![system("s"), user("a"), assistant("b"), system("new"), user("c")],
                vec![system(&format!("s\n\n{INSTRUCTIONS}\n\nnew")), user("a"), assistant("b"), user("c")],
            ),
            ("a system message alone", vec![system("s"), system("new")], {
                vec![system(&format!("s\n\n{INSTRUCTIONS}\n\nnew")), user(CONTINUE)]
            }),
            (
                "a system message at the end",
                vec![user("a"), assistant("b"), system("new")],
                vec![system("new"), user("a"), assistant("b"), user(CONTINUE)],
            ),
            ("nothing", vec![], vec![user(CONTINUE)]),
            (
                "a human agent after a reply",
                vec![user("a"), assistant("b"), assistant("c"), user("d")],
                vec![user("a"), assistant("b\n\nc"), user("d")],
            ),
            ("messages without a reply", vec![user("a"), user("b"), user("c")], vec![user("a\n\nb\n\nc")]),
        ];
        assert_arranged(cases);
    }

    #[test]
    fn calls_are_arranged_so_that_templates_accept_them() {
        let cases = [
            (
                "calls without a reply",
                vec![user("a"), calls(None, &["x"]), result("x", "1"), user("b")],
                vec![user("a"), calls(None, &["x"]), result("x", "1"), assistant(NO_REPLY), user("b")],
            ),
            (
                "calls after an agent",
                vec![
                    user("a"),
                    assistant("b"),
                    calls(None, &["x"]),
                    result("x", "1"),
                    assistant("c"),
                    user("d"),
                ],
                vec![
                    user("a"),
                    assistant("b"),
                    user(CONTINUE),
                    calls(None, &["x"]),
                    result("x", "1"),
                    assistant("c"),
                    user("d"),
                ],
            ),
            (
                "two rounds of calls in this turn",
                vec![
                    user("a"),
                    calls(Some("hm"), &["x"]),
                    result("x", "1"),
                    calls(None, &["y"]),
                    result("y", "2"),
                ],
                vec![
                    user("a"),
                    calls(Some("hm"), &["x"]),
                    result("x", "1"),
                    calls(None, &["y"]),
                    result("y", "2"),
                ],
            ),
            (
                "open calls and results without a call",
                vec![
                    result("x", "0"),
                    user("a"),
                    calls(None, &["x", "y"]),
                    result("y", "2"),
                    result("z", "3"),
                ],
                vec![user("a"), calls(None, &["x", "y"]), result("x", UNAVAILABLE), result("y", "2")],
            ),
        ];
        assert_arranged(cases);
    }

    #[test]
    fn any_order_is_accepted_and_loses_no_text() {
        let kinds = [system("s"), user("u"), assistant("a"), calls(None, &["x"]), result("x", "1")];
        for seed in 0..kinds.len().pow(6) {
            let pick = |place: u32| (seed / kinds.len().pow(place)) % kinds.len();
            let messages: Vec<ChatMessage> = (0..6).map(|place| kinds[pick(place)].clone()).collect();
            let count = |messages: &[ChatMessage], letter: &str| {
                let notes = [OPENING, CONTINUE, NO_REPLY, INSTRUCTIONS];
                let text = notes.iter().fold(format!("{messages:?}"), |text, note| text.replace(note, ""));
                text.matches(&format!("{letter}\"")).count() + text.matches(&format!("{letter}\\n")).count()
            };

            let arranged = arrange(messages.clone());

            assert_accepted(&arranged);
            for letter in ["s", "u", "a"] {
                assert!(count(&arranged, letter) >= count(&messages, letter), "{messages:?} {arranged:?}");
            }
            assert_eq!(arrange(arranged.clone()), arranged);
        }
    }
}
