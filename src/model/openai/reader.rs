//! Parses the JSON of a vendor into parts. It is lenient: fields that are missing, null or of another type are
//! ignored as long as a response remains.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::domain::chat::{
    ModelError, ModelErrorDetail, ModelErrorKind, ModelErrorMessage, Part, Usage, is_vendor_code,
};
use crate::model::collect::is_reasoning;

use super::errors;
use crate::model::surrogates;
use crate::telemetry::traces;

/// The fields of a message that we read, or that endpoints return and refuse in a request.
const MESSAGE_FIELDS: [&str; 9] =
    ["role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations", "prefix", "name"];
const CALL_FIELDS: [&str; 6] = ["index", "id", "type", "function", "name", "arguments"];
const FUNCTION_FIELDS: [&str; 2] = ["name", "arguments"];

/// The longest name of a model that is recorded, in bytes.
const MAX_MODEL_NAME: usize = 256;

/// Parses chunk by chunk and tracks which call a piece belongs to.
#[derive(Default)]
pub(super) struct Reader {
    calls: Vec<CallState>,
    /// How many choices have arrived, whatever they contain.
    choices: usize,
    has_content: bool,
    has_begun: bool,
    is_finished: bool,
    /// The model that answers; empty until it is known.
    model: String,
}

/// Most chunks are a piece of text and nothing else. Parsed without a tree of values; every other chunk does not fit and is read
/// leniently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainChunk {
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    #[serde(rename = "object", default)]
    _object: IgnoredAny,
    #[serde(rename = "created", default)]
    _created: IgnoredAny,
    #[serde(rename = "system_fingerprint", default)]
    _system_fingerprint: IgnoredAny,
    #[serde(rename = "service_tier", default)]
    _service_tier: IgnoredAny,
    #[serde(rename = "usage", default)]
    _usage: (),
    #[serde(default)]
    model: Option<String>,
    choices: [PlainChoice; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainChoice {
    #[serde(rename = "index", default)]
    _index: IgnoredAny,
    #[serde(rename = "logprobs", default)]
    _logprobs: IgnoredAny,
    delta: PlainDelta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainDelta {
    #[serde(rename = "role", default)]
    _role: IgnoredAny,
    #[serde(rename = "refusal", default)]
    _refusal: (),
    #[serde(rename = "tool_calls", default)]
    _tool_calls: (),
    #[serde(default)]
    content: Option<String>,
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
    parts.extend(reader.finish()?);
    Ok(parts)
}

impl Reader {
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether anything of the answer, or of the thoughts before it, has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The response is complete, though some vendors omit the finish reason.
    pub(super) fn finish(&mut self) -> Result<Option<Part>, ModelError> {
        if !self.is_finished && !self.has_content {
            // Any JSON may be sent with status 200, such as the page of a proxy or an answer of another API.
            let lacks =
                if self.choices == 0 { "the response has no choices" } else { "the response is empty" };
            return Err(with_message(ModelErrorKind::Unreadable, ModelErrorMessage::Own(lacks.to_owned())));
        }
        let was_finished = std::mem::replace(&mut self.is_finished, true);
        Ok((!was_finished).then_some(Part::Finished { is_truncated: false }))
    }

    /// The connection has ended.
    pub(super) fn end(&self) -> Result<(), ModelError> {
        let message = || ModelErrorMessage::Own("the response was cut off".to_owned());
        let error = || with_message(ModelErrorKind::Unreadable, message());
        self.is_finished.then_some(()).ok_or_else(error)
    }

    /// The parts of a chunk or of a whole response.
    pub(super) fn read_chunk(&mut self, json: &[u8]) -> Result<Vec<Part>, ModelError> {
        if let Ok(chunk) = serde_json::from_slice::<PlainChunk>(json) {
            return self.read_plain(chunk);
        }
        let chunk: Value = serde_json::from_slice(json)
            .or_else(|_| serde_json::from_slice(&surrogates::replace_lone(json)))
            .map_err(|_| ModelErrorKind::Unreadable)?;
        if let Some(error) = errors::find(&chunk) {
            return Err(errors::embedded(error));
        }

        self.record_model(chunk.get("model").and_then(Value::as_str));
        let mut parts = Vec::new();
        if let Some(choice) = chunk.get("choices").and_then(|choices| choices.get(0)) {
            self.choices += 1;
            // `message` is whole, `delta` a piece; some vendors confuse them.
            for (key, is_whole) in [("message", true), ("delta", false)] {
                if let Some(message) = choice.get(key).filter(|message| message.is_object()) {
                    self.read_message(message, is_whole, &mut parts);
                }
            }
            self.read_finish_reason(choice.get("finish_reason").and_then(Value::as_str), &mut parts)?;
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            parts.push(Part::Usage(read_usage(usage)));
        }
        self.has_begun |=
            parts.iter().any(|part| matches!(part, Part::Text(_) | Part::Thoughts(_) | Part::Call { .. }));
        Ok(parts)
    }

    /// A router answers with another model than the one that was asked for. Only the span of the call has it.
    fn record_model(&mut self, model: Option<&str>) {
        let model = model.filter(|model| self.model.is_empty() && model.len() <= MAX_MODEL_NAME);
        if let Some(model) = model {
            model.clone_into(&mut self.model);
            traces::set_current("gen_ai.response.model", || model.to_owned());
        }
    }

    fn read_plain(&mut self, chunk: PlainChunk) -> Result<Vec<Part>, ModelError> {
        self.record_model(chunk.model.as_deref());
        let [PlainChoice { delta, finish_reason, .. }] = chunk.choices;
        self.choices += 1;
        let text = delta.content.filter(|text| !text.is_empty());
        self.has_content |= text.is_some();
        self.has_begun |= text.is_some();
        let mut parts: Vec<_> = text.map(Part::Text).into_iter().collect();
        self.read_finish_reason(finish_reason.as_deref(), &mut parts)?;
        Ok(parts)
    }

    fn read_message(&mut self, message: &Value, is_whole: bool, parts: &mut Vec<Part>) {
        let thinking = message.get("content").map(read_thinking).unwrap_or_default();
        parts.extend((!thinking.is_empty()).then_some(Part::Thoughts(thinking)));
        for key in ["content", "refusal"] {
            let text = message.get(key).map(read_text).unwrap_or_default();
            if !text.is_empty() {
                self.has_content = true;
                parts.push(Part::Text(text));
            }
        }
        let mut fields = unknown_fields(message, &MESSAGE_FIELDS);
        // Gemini marks the thoughts in the text, which does not go back.
        let google =
            fields.get_mut("extra_content").and_then(|extra| extra.get_mut("google")?.as_object_mut());
        google.and_then(|google| google.remove("thought"));
        // vLLM sends the same text under two names.
        let reasoning = fields.iter().find_map(|(key, value)| value.as_str().filter(|_| is_reasoning(key)));
        parts.extend(reasoning.map(|text| Part::Thoughts(text.to_owned())));
        parts.extend((!fields.is_empty()).then_some(Part::Vendor { index: None, fields }));
        let calls = message.get("tool_calls").and_then(Value::as_array);
        // `function_call` preceded `tool_calls`; some vendors still send it.
        let legacy = message.get("function_call").filter(|legacy| legacy.is_object() && calls.is_none());
        for call in calls.into_iter().flatten().chain(legacy) {
            self.has_content = true;
            let index = self.read_call(call, is_whole, parts);
            let mut fields = unknown_fields(call, &CALL_FIELDS);
            let of_function = call.get("function").map(|function| unknown_fields(function, &FUNCTION_FIELDS));
            if let Some(of_function) = of_function.filter(|fields| !fields.is_empty()) {
                fields.insert("function".to_owned(), of_function.into());
            }
            parts.extend((!fields.is_empty()).then_some(Part::Vendor { index: Some(index), fields }));
        }
    }

    /// Reads a call, or a piece of one, and returns its slot.
    fn read_call(&mut self, call: &Value, is_whole: bool, parts: &mut Vec<Part>) -> usize {
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
        parts.push(Part::Call { index: slot, id, name, arguments });
        slot
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

    fn read_finish_reason(&mut self, reason: Option<&str>, parts: &mut Vec<Part>) -> Result<(), ModelError> {
        let is_truncated = match reason.unwrap_or_default() {
            "" => return Ok(()),
            // `eos` is Together AI's word.
            "stop" | "tool_calls" | "function_call" | "eos" => false,
            // `model_length` is Mistral's word for a full context.
            "length" | "model_length" => true,
            filtered if is_filtered(filtered) => return Err(bad_reason(ModelErrorKind::Withheld, filtered)),
            // Such as `abort`, `error`, `network_error` and `malformed_function_call`.
            other => return Err(bad_reason(ModelErrorKind::Unreadable, other)),
        };
        if !self.is_finished {
            self.is_finished = true;
            parts.push(Part::Finished { is_truncated });
        }
        Ok(())
    }
}

/// Whether a filter withheld the response. Gemini's endpoint sends `content_filter: SAFETY`, or its own reason alone.
fn is_filtered(reason: &str) -> bool {
    let own = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"];
    reason.starts_with("content_filter") || own.contains(&reason)
}

fn bad_reason(kind: ModelErrorKind, reason: &str) -> ModelError {
    let reason: String = reason.chars().take(64).collect();
    let message = format!("the response ended with the reason '{reason}'");
    let is_code = is_vendor_code(&reason);
    let message =
        if is_code { ModelErrorMessage::Own(message) } else { ModelErrorMessage::Foreign(message.into()) };
    with_message(kind, message)
}

fn with_message(kind: ModelErrorKind, message: ModelErrorMessage) -> ModelError {
    let detail = ModelErrorDetail { message: Some(message), ..ModelErrorDetail::default() };
    ModelError { kind, detail: Some(Box::new(detail)) }
}

/// The fields of an object that we do not know and that say something.
fn unknown_fields(object: &Value, known: &[&str]) -> Map<String, Value> {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let fields = object.as_object().into_iter().flatten();
    let unknown = fields.filter(|(key, value)| !known.contains(&key.as_str()) && !is_empty(value));
    unknown.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A string, or a list of parts, some of which are text.
fn read_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(pieces) => {
            let texts = pieces.iter().filter(|piece| !is_thought(piece));
            texts.filter_map(|piece| piece.get("text")?.as_str()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// Whether a part of a content is no text of the reply. Text may have no type.
fn is_thought(piece: &Value) -> bool {
    let kind = piece.get("type").and_then(Value::as_str).unwrap_or("text");
    !matches!(kind, "text" | "output_text" | "refusal") || piece.get("thought") == Some(&Value::Bool(true))
}

/// The thoughts among the parts of a content, as Magistral sends them in `thinking`, and others in `text` or `summary`.
fn read_thinking(content: &Value) -> String {
    const TEXTS: [&str; 5] = ["thinking", "reasoning", "text", "summary", "content"];
    let pieces = content.as_array().into_iter().flatten().filter(|piece| is_thought(piece));
    pieces.filter_map(|piece| TEXTS.iter().find_map(|key| piece.get(*key))).map(read_text).collect()
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
