//! One tool call of a turn: parsed from the response of the model, checked, planned, finished. A mistake of the model
//! is a result for it to read and never ends the turn.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::chat::{ToolCall, clean_map, clean_text, clean_value};

use super::excerpt::{json_bytes, shorten_object};
use super::{MIN_RESULT, PlannedCall, Toolbox};

const OUTCOME_UNKNOWN: &str = "The outcome of this call is unknown: it was sent, but no result came back. \
     It may or may not have taken effect. Do not assume that it failed.";

/// The result of a call, as the JSON object that model and client see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallResult(Map<String, Value>);

impl CallResult {
    /// The result of a tool; a value that is not an object is wrapped as `{"result": …}`.
    pub fn new(value: Value) -> Self {
        let value = clean_value(value);
        if let Value::Object(fields) = value {
            Self(fields)
        } else {
            Self(Map::from_iter([("result".to_owned(), value)]))
        }
    }

    /// `{"error": message}`.
    pub fn failed(message: impl Into<String>) -> Self {
        Self(Map::from_iter([("error".to_owned(), Value::String(clean_text(message.into())))]))
    }

    /// The call was sent, and no result came back.
    pub fn unknown() -> Self {
        Self::failed(OUTCOME_UNKNOWN)
    }

    /// The result if it has at most `max` bytes as JSON, else an excerpt of that size.
    #[must_use]
    pub fn shortened(self, max: usize) -> Self {
        Self(shorten_object(self.0, max))
    }

    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Its length as JSON.
    pub(super) fn bytes(&self) -> usize {
        json_bytes(&self.0)
    }
}

/// The JSON text.
impl fmt::Display for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

/// A tool call that was made for a reply. All calls of a reply together have at most 64 KiB: long arguments and results are
/// excerpts with the field `shortened_from_bytes`, the size of the whole. The whole is in the trace of the reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FunctionCall)]
pub struct FinishedCall {
    #[schema(example = "check_calendar_availability")]
    pub name: String,
    /// Empty when the model's arguments were malformed.
    #[serde(default)]
    #[schema(value_type = Object, required)]
    pub arguments: Map<String, Value>,
    #[schema(value_type = Object)]
    pub result: CallResult,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) position: u32,
    pub(super) state: State,
    name: String,
    arguments: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Open,
    Done(CallResult),
}

impl Call {
    /// Parses a call of the model. An invalid call is finished at once.
    pub(super) fn new(id: String, position: u32, requested: ToolCall, toolbox: &dyn Toolbox) -> Self {
        let name = clean_text(requested.name);
        let (arguments, state) = match parse_arguments(&requested.arguments) {
            Ok(arguments) => match toolbox.prepare(&name, &arguments) {
                Ok(prepared) => (prepared, State::Open),
                // It may quote what the model wrote.
                Err(error) => (arguments, State::Done(CallResult::failed(error).shortened(MIN_RESULT))),
            },
            Err(error) => (Map::new(), State::Done(CallResult::failed(error))),
        };
        Self { id, position, state, name, arguments }
    }

    /// Handles a call that was started before the turn was interrupted.
    pub(super) fn resume(&mut self, toolbox: &dyn Toolbox) {
        if self.state == State::Open && !toolbox.is_repeatable(&self.name) {
            self.state = State::Done(CallResult::unknown());
        }
    }

    pub(super) fn finish(&mut self, result: CallResult) {
        if self.state == State::Open {
            self.state = State::Done(result);
        }
    }

    /// The call to run; `None` once it has a result.
    pub(super) fn plan(&self, step: u32) -> Option<PlannedCall> {
        match self.state {
            State::Open => Some(self.planned(step)),
            State::Done(_) => None,
        }
    }

    /// An invalid call with its error result; `None` for a valid call that has no result yet.
    pub(super) fn rejection(&self, step: u32) -> Option<(PlannedCall, CallResult)> {
        match &self.state {
            State::Open => None,
            State::Done(result) => Some((self.planned(step), result.clone())),
        }
    }

    pub(super) fn planned(&self, step: u32) -> PlannedCall {
        PlannedCall {
            step,
            position: self.position,
            id: self.id.clone(),
            name: self.name.clone(),
            arguments: self.arguments.clone(),
        }
    }

    pub(super) fn finished(&self) -> Option<FinishedCall> {
        match &self.state {
            State::Done(result) => Some(FinishedCall {
                name: self.name.clone(),
                arguments: self.arguments.clone(),
                result: result.clone(),
            }),
            State::Open => None,
        }
    }

    pub(super) fn to_tool_call(&self) -> ToolCall {
        ToolCall {
            id: self.id.clone(),
            name: self.name.clone(),
            arguments: Value::Object(self.arguments.clone()).to_string(),
        }
    }
}

/// Empty text and `null` are accepted, because models write them for a tool without arguments.
fn parse_arguments(text: &str) -> Result<Map<String, Value>, &'static str> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(clean_map(fields)),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("The arguments must be a JSON object."),
        Err(_) => Err("The arguments are not valid JSON."),
    }
}
