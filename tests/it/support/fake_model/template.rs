//! The checks of real chat templates, all at once: Mistral's (alternation, call ids), Gemma's and Llama 2's (alternation,
//! beginning with the user) and Qwen's (the system message first, some message of the user).

use serde_json::Value;

/// The length of Mistral's call ids, which have letters and digits only.
const CALL_ID: usize = 9;

/// The error of the template, if it refuses the messages.
pub(super) fn check(messages: &[Value]) -> Result<(), String> {
    let is_system = |message: &Value| message["role"] == "system";
    let rest = if messages.first().is_some_and(is_system) { &messages[1..] } else { messages };
    if rest.iter().any(is_system) {
        return Err("System message must be at the beginning.".to_owned());
    }
    let has_calls = |message: &Value| message["tool_calls"].is_array();
    let speech = rest.iter().filter(|message| message["role"] != "tool" && !has_calls(message));
    for (index, message) in speech.enumerate() {
        if (message["role"] == "user") != (index % 2 == 0) {
            return Err("Conversation roles must alternate user/assistant/user/assistant/...".to_owned());
        }
        if message["content"].as_str().is_none_or(str::is_empty) {
            return Err(format!("Message without content: {message}"));
        }
    }
    check_calls(rest)?;
    match rest.last().map(|last| &last["role"]) {
        Some(role) if role == "user" || role == "tool" => Ok(()),
        other => Err(format!("Expected last role User or Tool but got {other:?}")),
    }
}

/// Each call is followed by its result, and the results by an answer.
fn check_calls(messages: &[Value]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut previous = "";
    for message in messages {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let position = open.iter().position(|call| *call == id);
            open.remove(position.ok_or_else(|| format!("Unexpected tool result: {id}"))?);
        } else if !open.is_empty() {
            return Err(format!("Not the same number of function calls and responses: {open:?}"));
        } else if role == "user" && previous == "tool" {
            return Err("Unexpected role 'user' after role 'tool'".to_owned());
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let id = call["id"].as_str().unwrap_or_default();
            if id.len() != CALL_ID || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."));
            }
            open.push(id);
        }
        previous = role;
    }
    Ok(())
}
