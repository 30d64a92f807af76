//! What a turn's journal tells of how its reply came about: the model's rounds, the calls of each, and
//! what they took. The journal's own words are here, too: who runs a turn writes them.

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

/// An answer as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalledAnswer {
    /// Who gave it.
    #[serde(flatten)]
    pub model_ref: ModelRef,
    /// What it says.
    pub answer: ModelAnswer,
}

/// A call as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalledCall {
    /// The same for every try of it.
    pub id: String,
    /// Of the tool.
    pub name: String,
    /// As they are sent to it.
    pub arguments: Map<String, Value>,
}

/// A turn, and all that was done for it so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// As its row keeps it.
    pub turn: Turn,
    /// In order.
    pub rounds: Vec<Round>,
}

/// An answer of the model, and the calls that it asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// From 0.
    pub step: i64,
    /// The turn's attempt in which it came, from 1.
    pub attempt: i64,
    /// Which model gave it, on which connection.
    pub model_ref: ModelRef,
    /// When it was asked for, retries with fallbacks included.
    pub time: Span,
    /// What the model said beside its calls, or as the reply.
    pub text: Option<String>,
    /// Zero where the endpoint does not say.
    pub usage: Usage,
    /// In the model's order.
    pub calls: Vec<TracedCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedCall {
    /// The same for every try of it.
    pub id: String,
    /// Of the tool.
    pub name: String,
    /// A JSON object; empty where what the model wrote could not be read.
    pub arguments: String,
    /// Once it has begun.
    pub execution: Option<CallExecution>,
}

/// A call that has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct CallExecution {
    /// The turn's attempt in which it first left.
    pub attempt: i64,
    /// When it left and, once there is a result, when that came.
    pub time: Span,
    /// A JSON object.
    pub result: Option<String>,
}

/// From a start to an end that may not have come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The start.
    pub started_at: Micros,
    /// The end.
    pub finished_at: Option<Micros>,
}

impl Span {
    /// How long it took, once it has ended.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        self.finished_at.map(|finished| finished.since(self.started_at))
    }
}

/// What a turn's rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tokens of all rounds.
    pub usage: Usage,
    /// How long the model was waited for.
    pub model_time: Duration,
    /// How long each call took, added up; those of one round are made at once.
    pub tool_time: Duration,
}

impl Trace {
    /// Reads a turn's journal. What cannot be read is left out.
    #[must_use]
    pub fn new(turn: Turn, journal: &[JournalRow]) -> Self {
        let answers = journal.iter().filter(|row| row.position == 0);
        let rounds = answers.filter_map(|row| round(&turn, row, journal)).collect();
        Self { turn, rounds }
    }

    /// What the rounds so far came to.
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
    Span { started_at: row.started_at, finished_at: row.finished_at }
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
        usage: answer.usage,
    })
}

/// A [`JournalledCall`] whose arguments stay as they are written.
#[derive(Deserialize)]
struct RawJournalledCall<'a> {
    id: String,
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

#[cfg(test)]
mod tests;
