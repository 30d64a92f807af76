//! Parses the JSON of a vendor into parts. It is lenient: fields that are missing, null or of another type are
//! ignored as long as a response remains.

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::chat::{ModelError, Part, Usage};

use super::http::status_error;

/// Parses chunk by chunk and tracks which call a piece belongs to.
#[derive(Default)]
pub(super) struct Reader {
    calls: Vec<CallState>,
    has_content: bool,
    is_finished: bool,
}

/// A call that is still arriving. Its slot is its position in the list.
struct CallState {
    index: Option<u64>,
    id: Option<String>,
}

/// Parses a response that is one JSON object.
pub(super) fn read_completion(json: &[u8]) -> Result<Vec<Part>, ModelError> {
    let mut reader = Reader::default();
    let mut parts = reader.read_chunk(json)?;
    // Valid JSON is complete; some vendors omit the finish reason.
    if !reader.is_finished && reader.has_content {
        parts.push(Part::Finished);
    }
    Ok(parts)
}

/// The code in the body of an error, if it may be logged.
pub(super) fn error_code(json: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(json).ok()?;
    let error = body.get("error")?;
    let code = non_empty(error.get("code")).or_else(|| non_empty(error.get("type")))?;
    let is_plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_plain.then_some(code)
}

impl Reader {
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The parts of a chunk or of a whole response.
    pub(super) fn read_chunk(&mut self, json: &[u8]) -> Result<Vec<Part>, ModelError> {
        let chunk: Value = serde_json::from_slice(json).map_err(|_| ModelError::Unreadable)?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(embedded_error(error));
        }

        let mut parts = Vec::new();
        if let Some(choice) = chunk.get("choices").and_then(|choices| choices.get(0)) {
            // `message` is whole, `delta` a piece; some vendors confuse them.
            for (key, is_whole) in [("message", true), ("delta", false)] {
                if let Some(message) = choice.get(key).filter(|message| message.is_object()) {
                    self.read_message(message, is_whole, &mut parts);
                }
            }
            self.read_finish_reason(choice.get("finish_reason"), &mut parts)?;
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            parts.push(Part::Usage(read_usage(usage)));
        }
        Ok(parts)
    }

    fn read_message(&mut self, message: &Value, is_whole: bool, parts: &mut Vec<Part>) {
        for key in ["content", "refusal"] {
            let text = message.get(key).map(read_text).unwrap_or_default();
            if !text.is_empty() {
                self.has_content = true;
                parts.push(Part::Text(text));
            }
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        // `function_call` preceded `tool_calls`; some vendors still send it.
        let legacy = message.get("function_call").filter(|legacy| legacy.is_object() && calls.is_none());
        for call in calls.into_iter().flatten().chain(legacy) {
            self.has_content = true;
            parts.push(self.read_call(call, is_whole));
        }
    }

    fn read_call(&mut self, call: &Value, is_whole: bool) -> Part {
        let function = call.get("function").unwrap_or(call);
        let id = non_empty(call.get("id"));
        let name = non_empty(function.get("name"));
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };

        let index = call.get("index").and_then(Value::as_u64);
        let existing = if is_whole { None } else { self.find_call(index, id.as_deref(), name.is_some()) };
        let slot = existing.unwrap_or(self.calls.len());
        match self.calls.get_mut(slot) {
            Some(open) if open.id.is_none() => open.id.clone_from(&id),
            Some(_) => {}
            None => self.calls.push(CallState { index, id: id.clone() }),
        }
        Part::Call { index: slot, id, name, arguments }
    }

    /// The call that a piece continues; none if it begins a new one. Some vendors give every call the index 0, some
    /// give every piece a new id, some give neither.
    fn find_call(&self, index: Option<u64>, id: Option<&str>, has_name: bool) -> Option<usize> {
        if let Some(id) = id
            && let Some(same) = self.calls.iter().position(|slot| slot.id.as_deref() == Some(id))
        {
            return Some(same);
        }
        let Some(index) = index else {
            let begins = has_name || id.is_some();
            return self.calls.len().checked_sub(1).filter(|_| !begins);
        };
        let same = self.calls.iter().rposition(|slot| slot.index == Some(index))?;
        let begins = id.is_some() && has_name && self.calls.get(same).is_some_and(|slot| slot.id.is_some());
        (!begins).then_some(same)
    }

    fn read_finish_reason(
        &mut self,
        reason: Option<&Value>,
        parts: &mut Vec<Part>,
    ) -> Result<(), ModelError> {
        match reason.and_then(Value::as_str).unwrap_or_default() {
            "" => return Ok(()),
            "length" => return Err(ModelError::Unreadable),
            "content_filter" => return Err(ModelError::Refused),
            "stop" | "tool_calls" | "function_call" => {}
            _ if self.has_content => {}
            _ => return Err(ModelError::Unreadable),
        }
        if !self.is_finished {
            self.is_finished = true;
            parts.push(Part::Finished);
        }
        Ok(())
    }
}

/// A string, or a list of parts, some of which are text.
fn read_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(pieces) => pieces.iter().filter_map(|piece| piece.get("text")?.as_str()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn non_empty(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn read_usage(usage: &Value) -> Usage {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    Usage {
        input: count("/prompt_tokens"),
        cached: count("/prompt_tokens_details/cached_tokens"),
        output: count("/completion_tokens"),
        reasoning: count("/completion_tokens_details/reasoning_tokens"),
    }
}

/// An error in a response with a successful status. Its code is a status or a word.
fn embedded_error(error: &Value) -> ModelError {
    let code = error.get("code");
    let number = code.and_then(Value::as_u64).or_else(|| code?.as_str()?.parse().ok());
    let status = number.and_then(|number| u16::try_from(number).ok());
    if let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) {
        return status_error(status, None);
    }
    let word = non_empty(code).or_else(|| non_empty(error.get("type"))).unwrap_or_default();
    match word {
        word if word.contains("rate_limit") => ModelError::RateLimited { retry_after: None },
        word if word.contains("invalid") || word.contains("context_length") => ModelError::Refused,
        _ => ModelError::Unavailable,
    }
}
