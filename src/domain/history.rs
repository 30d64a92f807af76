//! The messages of a model call: the system prompt, then as much of the conversation as fits, in the order for the
//! model.

mod arrange;
#[cfg(test)]
mod tests;
mod window;

use serde_json::{Map, Value};

use crate::domain::{
    chat::{ChatMessage, ToolCall},
    journal::JournalRow,
    tool_loop::{CallResult, FinishedCall},
    trace::JournalledCall,
};

pub use arrange::arrange;
pub use window::HistoryBounds;

const UNAVAILABLE: &str = r#"{"error":"result unavailable"}"#;

/// The longest result of a call in a turn without a reply, in bytes: a long one must not push the call out of the history.
pub const MAX_UNANSWERED_RESULT: usize = 4 * 1024;

/// Follows the text of a reply that a client stopped.
pub const STOPPED: &str = "(This reply was stopped here.)";

/// Older system messages than the window are sent up to this size, in bytes.
const MAX_OLD_INSTRUCTIONS: usize = 16 * 1024;

/// A stored message.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    pub position: i64,
    /// The position of the message that this reply answers.
    pub answers: Option<i64>,
    pub speaker: Speaker,
    /// Empty where the turn ended without a reply.
    pub text: String,
    /// The stored calls of a reply, or of a turn without one.
    pub calls: Vec<FinishedCall>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    User,
    /// A human agent.
    Agent,
    System,
    Assistant,
}

/// A message and its replies, which are kept or dropped together.
struct Exchange {
    position: i64,
    messages: Vec<ChatMessage>,
}

/// The history of the turn that answers the message at `turn_position`: the earlier messages, each earlier reply
/// directly after the message that it answers, and the complete message itself, with the calls of earlier turns that failed to answer
/// it. Entries may come in any order; later ones are ignored.
///
/// The oldest messages are dropped to stay within `bounds`, but never the system prompt (unless blank), the message at
/// `turn_position`, and the newest system messages. Long results of calls are shortened.
pub fn build_history(
    system_prompt: &str,
    mut entries: Vec<HistoryEntry>,
    turn_position: i64,
    bounds: HistoryBounds,
) -> Vec<ChatMessage> {
    entries.retain(|entry| match entry.answers {
        Some(anchor) if anchor == turn_position => entry.text.is_empty(),
        Some(anchor) => anchor < turn_position,
        None => entry.position <= turn_position,
    });
    entries.sort_by_key(|entry| {
        let anchor = entry.answers.unwrap_or(entry.position);
        (anchor, entry.answers.is_some(), entry.position)
    });

    let mut exchanges: Vec<Exchange> = Vec::new();
    for entry in entries {
        let anchor = entry.answers.unwrap_or(entry.position);
        let messages = to_messages(entry);
        match exchanges.last_mut() {
            Some(exchange) if exchange.position == anchor => exchange.messages.extend(messages),
            Some(_) | None => exchanges.push(Exchange { position: anchor, messages }),
        }
    }

    window::shorten_results(&mut exchanges, bounds);
    let kept = exchanges.split_off(window::start(&exchanges, bounds));
    let mut messages = Vec::new();
    if !system_prompt.trim().is_empty() {
        messages.push(ChatMessage::System(system_prompt.to_owned()));
    }
    messages.extend(instructions(exchanges));
    messages.extend(kept.into_iter().flat_map(|exchange| exchange.messages));
    messages
}

/// The newest system messages of exchanges that are dropped: they still apply.
fn instructions(dropped: Vec<Exchange>) -> Vec<ChatMessage> {
    let messages = dropped.into_iter().rev().flat_map(|exchange| exchange.messages.into_iter().rev());
    let texts = messages.filter_map(|message| match message {
        ChatMessage::System(text) => Some(text),
        ChatMessage::User(_) | ChatMessage::Assistant { .. } | ChatMessage::Tool { .. } => None,
    });
    let mut bytes = 0;
    let newest = texts.take_while(|text| {
        bytes += text.len();
        bytes <= MAX_OLD_INSTRUCTIONS
    });
    let mut newest: Vec<ChatMessage> = newest.map(ChatMessage::System).collect();
    newest.reverse();
    newest
}

/// Parses the stored `function_calls` of a reply. An unreadable result is replaced by a neutral one; an invalid call
/// is omitted.
pub fn parse_function_calls(function_calls: &Value) -> Vec<FinishedCall> {
    let read = |entry: &Value| {
        let name = entry.get("name")?.as_str()?.to_owned();
        let arguments = entry.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
        let result = entry.get("result").filter(|result| result.is_object()).cloned();
        let result = result.unwrap_or_else(|| {
            Value::Object(Map::from_iter([("error".to_owned(), "result unavailable".into())]))
        });
        Some(FinishedCall { name, arguments, result: CallResult::new(result) })
    };
    function_calls.as_array().map(|entries| entries.iter().filter_map(read).collect()).unwrap_or_default()
}

/// The calls of a turn that ended without a reply, which later turns have to know of: they may have had effects. `journal`
/// are the rows of its calls; a result may be cut anywhere after [`MAX_UNANSWERED_RESULT`]. `position` is that of the message that
/// the turn was to answer.
pub fn unanswered_entry(position: i64, journal: &[JournalRow]) -> HistoryEntry {
    let read = |row: &JournalRow| {
        let JournalledCall { name, arguments, .. } = serde_json::from_str(&row.content).ok()?;
        let result = match &row.result {
            Some(result) if result.len() <= MAX_UNANSWERED_RESULT => {
                CallResult::new(serde_json::from_str(result).ok()?)
            }
            Some(result) => {
                let end = result.floor_char_boundary(MAX_UNANSWERED_RESULT);
                CallResult::new(format!("{}…", &result[..end]).into())
            }
            None => CallResult::unknown(),
        };
        Some(FinishedCall { name, arguments, result })
    };
    HistoryEntry {
        position,
        answers: Some(position),
        speaker: Speaker::Assistant,
        text: String::new(),
        calls: journal.iter().filter_map(read).collect(),
    }
}

fn to_messages(entry: HistoryEntry) -> Vec<ChatMessage> {
    match entry.speaker {
        Speaker::User => vec![ChatMessage::User(entry.text)],
        Speaker::System => vec![ChatMessage::System(entry.text)],
        Speaker::Agent => {
            vec![ChatMessage::Assistant { text: Some(entry.text), calls: Vec::new(), vendor: None }]
        }
        Speaker::Assistant => {
            let mut messages = tool_call_messages(entry.position, entry.calls);
            if entry.text.is_empty() {
                return messages;
            }
            messages.push(ChatMessage::Assistant { text: Some(entry.text), calls: Vec::new(), vendor: None });
            messages
        }
    }
}

/// All calls of a reply as one round, because their rounds are not stored.
fn tool_call_messages(position: i64, finished: Vec<FinishedCall>) -> Vec<ChatMessage> {
    if finished.is_empty() {
        return Vec::new();
    }
    let mut calls = Vec::with_capacity(finished.len());
    let mut results = Vec::with_capacity(finished.len());
    for (number, call) in (1u32..).zip(finished) {
        let id = format!("call_{position}_{number}");
        results.push(ChatMessage::Tool { call_id: id.clone(), content: call.result.to_string() });
        let arguments = Value::Object(call.arguments).to_string();
        calls.push(ToolCall { id, name: call.name, arguments });
    }
    let mut messages = vec![ChatMessage::Assistant { text: None, calls, vendor: None }];
    messages.append(&mut results);
    messages
}
