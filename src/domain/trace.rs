//! The trace of a turn from its journal: the rounds of the model, their calls and times. Also the journal entries
//! themselves, which the runner of the turn writes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::assistant::ModelRef;
use super::chat::{ModelAnswer, Usage};
use super::clock::Micros;
use super::journal::JournalRow;
use super::tool_loop::call_id;
use super::turn::Turn;

/// A journalled response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalledAnswer {
    /// The model that responded.
    #[serde(flatten)]
    pub model_ref: ModelRef,
    /// The response.
    pub answer: ModelAnswer,
}

/// A journalled call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalledCall {
    /// The same for every attempt.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// As they are sent to the tool.
    pub arguments: Map<String, Value>,
}

/// A turn and its rounds so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The stored turn.
    pub turn: Turn,
    /// In order.
    pub rounds: Vec<Round>,
    /// The journal is longer than was read: the last rounds or calls are missing.
    pub is_truncated: bool,
}

/// A response of the model and the calls that it requested.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// From 0.
    pub step: i64,
    /// The attempt of the turn, from 1.
    pub attempt: i64,
    /// The model and its connection.
    pub model_ref: ModelRef,
    /// The time of the request, including retries with fallbacks.
    pub time: Span,
    /// The text besides the calls, or the reply.
    pub text: Option<String>,
    /// The model's reasoning, of bounded length.
    pub thoughts: Option<String>,
    /// The text ends where the model reached its limit of tokens.
    pub is_truncated: bool,
    /// Zero if the endpoint does not report them.
    pub usage: Usage,
    /// In the order of the model.
    pub calls: Vec<TracedCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedCall {
    /// The same for every attempt.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// A JSON object; empty if the model's text could not be parsed.
    pub arguments: String,
    /// Set once it has started.
    pub execution: Option<CallExecution>,
}

/// A started call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallExecution {
    /// The attempt of the turn in which it was first sent.
    pub attempt: i64,
    /// When it was sent and, once there is a result, when that arrived.
    pub time: Span,
    /// A JSON object.
    pub result: Option<String>,
}

/// A period whose end may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The start.
    pub started_at: Micros,
    /// The end.
    pub ended_at: Option<Micros>,
}

impl Span {
    /// Its duration, once it has ended.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        self.ended_at.map(|ended| ended.since(self.started_at))
    }
}

/// The totals of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tokens of all rounds.
    pub usage: Usage,
    /// The time spent waiting for the model.
    pub model_time: Duration,
    /// The sum of the durations of all calls; the calls of a round run concurrently.
    pub tool_time: Duration,
}

impl Trace {
    /// Reads the journal of a turn, or its first rows, and omits unreadable entries.
    #[must_use]
    pub fn new(turn: Turn, journal: &[JournalRow], is_truncated: bool) -> Self {
        let answers = journal.iter().filter(|row| row.position == 0);
        let rounds = answers.filter_map(|row| round(&turn, row, journal)).collect();
        Self { turn, rounds, is_truncated }
    }

    /// The totals of the rounds so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for round in &self.rounds {
            totals.usage.add(round.usage);
            totals.model_time += round.time.duration().unwrap_or_default();
            let calls = round.calls.iter().filter_map(|call| call.execution.as_ref()?.time.duration());
            totals.tool_time += calls.sum::<Duration>();
        }
        totals
    }
}

fn span(row: &JournalRow) -> Span {
    Span { started_at: row.started_at, ended_at: row.finished_at }
}

fn round(turn: &Turn, row: &JournalRow, journal: &[JournalRow]) -> Option<Round> {
    let JournalledAnswer { model_ref, answer } = serde_json::from_str(&row.content).ok()?;
    let calls = (1_i64..).zip(answer.calls).map(|(position, requested)| {
        let call_row = journal.iter().find(|call| (call.step, call.position) == (row.step, position));
        let execution = call_row.map(|call_row| CallExecution {
            attempt: call_row.attempt,
            time: span(call_row),
            result: call_row.result.clone(),
        });
        let call = call_row
            .and_then(|call_row| serde_json::from_str::<RawJournalledCall<'_>>(&call_row.content).ok());
        match call {
            Some(call) => TracedCall {
                id: call.id,
                name: call.name,
                arguments: call.arguments.get().to_owned(),
                execution,
            },
            None => TracedCall {
                id: call_id(&turn.id.to_string(), row.step, position),
                name: requested.name,
                arguments: "{}".to_owned(),
                execution,
            },
        }
    });
    Some(Round {
        step: row.step,
        attempt: row.attempt,
        model_ref,
        time: span(row),
        calls: calls.collect(),
        text: answer.text,
        thoughts: answer.thoughts,
        is_truncated: answer.is_truncated,
        usage: answer.usage,
    })
}

/// A [`JournalledCall`] with its arguments as raw text.
#[derive(Deserialize)]
struct RawJournalledCall<'a> {
    id: String,
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

#[cfg(test)]
mod tests;
