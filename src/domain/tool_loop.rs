//! The tool loop of a turn as a state machine without I/O: it is replayed from the journal, returns the next action,
//! and takes its result. The caller runs models and tools and writes the journal.

mod call;
mod excerpt;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::domain::chat::{ChatMessage, ModelAnswer, ToolCall, VendorFields};
use crate::domain::failure::Failure;

use call::{Call, State};
pub use call::{CallResult, FinishedCall};
pub use excerpt::{json_prefix, shorten_calls};

/// The results of a turn's calls together, in bytes of JSON.
const MAX_TURN_RESULTS: usize = 1024 * 1024;
/// The room that each result has, also after large ones, in bytes of JSON.
const MIN_RESULT: usize = 4 * 1024;

/// The id of a call: the same for every attempt, in any process.
pub fn call_id(turn: &str, step: impl std::fmt::Display, position: impl std::fmt::Display) -> String {
    format!("call_{turn}_{step}_{position}")
}

/// The limits of a turn; exceeding one ends it with [`Failure::TooManyToolCalls`].
#[derive(Debug, Clone, Copy)]
pub struct TurnLimits {
    /// Model responses, including the last.
    pub max_rounds: u32,
    /// Tool calls of all rounds together.
    pub max_tool_calls: usize,
}

/// The information that the loop needs about the tools of an assistant. It requires no I/O and is constant for a
/// version of the assistant, so a replay makes the same decisions.
pub trait Toolbox {
    /// The arguments to send: those that the schema of the tool declares. An error if the tool does not exist or the arguments do
    /// not match its schema; the text helps the model to fix it.
    fn prepare(&self, name: &str, arguments: &Map<String, Value>) -> Result<Map<String, Value>, String>;

    /// Whether a call that may have arrived can be repeated under the same id.
    fn is_repeatable(&self, name: &str) -> bool;
}

/// The next action.
#[derive(Debug, Clone, PartialEq)]
pub enum NextAction {
    /// Call the model with `tail` after the history; the response is journalled at (`step`, 0) and passed to
    /// [`ToolLoop::on_answer`].
    CallModel {
        step: u32,
        tail: Vec<ChatMessage>,
    },
    /// Run these in any order or concurrently; pass each result to [`ToolLoop::on_result`].
    RunTools(Vec<PlannedCall>),
    /// The turn has its reply. `calls` are all calls of all rounds, in order.
    Reply {
        text: String,
        calls: Vec<FinishedCall>,
        /// The text ends where the model reached its limit of tokens.
        is_truncated: bool,
    },
    Fail(Failure),
}

/// A call to run. Its journal key is (`step`, `position`).
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCall {
    pub step: u32,
    /// 1 for the first call of a round.
    pub position: u32,
    /// The same for every attempt at this call, in any process.
    pub id: String,
    pub name: String,
    /// As they are sent.
    pub arguments: Map<String, Value>,
}

/// A row of the journal, as the loop needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalEntry {
    pub step: u32,
    /// 0 for the response of a round, 1 … for its calls.
    pub position: u32,
    pub record: JournalRecord,
}

#[derive(Debug, Clone, PartialEq)]
pub enum JournalRecord {
    Answer(ModelAnswer),
    /// The call was sent, or was about to be.
    Started,
    Finished(CallResult),
}

/// A round of a turn: the text of the model beside its calls, and each call with its result, once there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundSoFar {
    pub text: Option<String>,
    pub calls: Vec<(PlannedCall, Option<CallResult>)>,
}

/// A running turn.
#[derive(Debug, Clone)]
pub struct ToolLoop {
    id: String,
    limits: TurnLimits,
    rounds: Vec<Round>,
}

#[derive(Debug, Clone)]
struct Round {
    step: u32,
    text: Option<String>,
    calls: Vec<Call>,
    vendor: Option<VendorFields>,
    is_truncated: bool,
}

impl ToolLoop {
    /// The turn `id` (`trn_…`), before its first model call.
    pub fn new(id: impl Into<String>, limits: TurnLimits) -> Self {
        Self { id: id.into(), limits, rounds: Vec::new() }
    }

    /// The turn as its journal describes it. Entries may come in any order. A call that was started and has no result
    /// is planned again if its tool is repeatable; otherwise its result states that the outcome is unknown.
    pub fn replay(
        id: impl Into<String>,
        limits: TurnLimits,
        toolbox: &dyn Toolbox,
        mut journal: Vec<JournalEntry>,
    ) -> Self {
        let mut turn = Self::new(id, limits);
        journal.sort_by_key(|entry| {
            (entry.step, entry.position, matches!(entry.record, JournalRecord::Started))
        });

        for entry in journal {
            match entry.record {
                JournalRecord::Answer(answer) => turn.push_round(entry.step, answer, toolbox),
                JournalRecord::Started => {
                    if let Some(call) = turn.call_mut(entry.step, entry.position) {
                        call.resume(toolbox);
                    }
                }
                JournalRecord::Finished(result) => turn.on_result(entry.step, entry.position, result),
            }
        }
        turn
    }

    /// The next action. Idempotent.
    pub fn next_action(&self) -> NextAction {
        let Some(last) = self.rounds.last() else {
            return NextAction::CallModel { step: 0, tail: Vec::new() };
        };
        if last.calls.is_empty() {
            return self.conclude(last);
        }
        let total: usize = self.rounds.iter().map(|round| round.calls.len()).sum();
        let next_step = last.step.saturating_add(1);
        if total > self.limits.max_tool_calls || next_step >= self.limits.max_rounds {
            return NextAction::Fail(Failure::TooManyToolCalls);
        }

        let open: Vec<PlannedCall> = last.calls.iter().filter_map(|call| call.plan(last.step)).collect();
        if open.is_empty() {
            NextAction::CallModel { step: next_step, tail: self.tail() }
        } else {
            NextAction::RunTools(open)
        }
    }

    /// The longest result that each open call may have, in bytes of JSON: an equal share of what the results so far leave of
    /// the turn's 1 MiB, and at least 4 KiB.
    pub fn max_result(&self) -> usize {
        let (mut open, mut used) = (0, 0_usize);
        for call in self.rounds.iter().flat_map(|round| &round.calls) {
            match &call.state {
                State::Open => open += 1,
                State::Done(result) => used = used.saturating_add(result.bytes()),
            }
        }
        (MAX_TURN_RESULTS.saturating_sub(used) / open.max(1)).max(MIN_RESULT)
    }

    /// The calls of the last round that cannot be made, with the errors for the model. No tool runs for them, so the
    /// caller journals them with the response, directly after it.
    pub fn rejected_calls(&self) -> Vec<(PlannedCall, CallResult)> {
        let Some(last) = self.rounds.last() else { return Vec::new() };
        last.calls.iter().filter_map(|call| call.rejection(last.step)).collect()
    }

    /// The rounds so far.
    pub fn rounds(&self) -> impl DoubleEndedIterator<Item = RoundSoFar> {
        self.rounds.iter().map(|round| {
            let calls = round.calls.iter().map(|call| {
                let result = match &call.state {
                    State::Open => None,
                    State::Done(result) => Some(result.clone()),
                };
                (call.planned(round.step), result)
            });
            RoundSoFar { text: round.text.clone(), calls: calls.collect() }
        })
    }

    /// The texts of all rounds but the last.
    pub fn earlier_texts(&self) -> Vec<String> {
        let earlier = self.rounds.split_last().map_or(&[][..], |(_, earlier)| earlier);
        earlier.iter().filter_map(|round| round.text.clone()).collect()
    }

    /// The calls of all rounds that have a result, in order.
    pub fn finished_calls(&self) -> Vec<FinishedCall> {
        self.rounds.iter().flat_map(|round| &round.calls).filter_map(Call::finished).collect()
    }

    /// The model responded to the last [`NextAction::CallModel`].
    pub fn on_answer(&mut self, answer: ModelAnswer, toolbox: &dyn Toolbox) {
        let step = self.rounds.last().map_or(0, |last| last.step.saturating_add(1));
        self.push_round(step, answer, toolbox);
    }

    /// The result of a call. Only the first one counts; a result of a call that is not open is ignored.
    pub fn on_result(&mut self, step: u32, position: u32, result: CallResult) {
        if let Some(call) = self.call_mut(step, position) {
            call.finish(result);
        }
    }

    fn push_round(&mut self, step: u32, mut answer: ModelAnswer, toolbox: &dyn Toolbox) {
        let calls = (1u32..)
            .zip(std::mem::take(&mut answer.calls))
            .map(|(position, requested)| {
                Call::new(call_id(&self.id, step, position), position, requested, toolbox)
            })
            .collect();
        let ModelAnswer { text, vendor, is_truncated, .. } = answer;
        self.rounds.push(Round { step, text, calls, vendor, is_truncated });
    }

    fn call_mut(&mut self, step: u32, position: u32) -> Option<&mut Call> {
        let round = self.rounds.iter_mut().find(|round| round.step == step)?;
        round.calls.iter_mut().find(|call| call.position == position)
    }

    fn conclude(&self, last: &Round) -> NextAction {
        match &last.text {
            Some(text) if !text.trim().is_empty() => {
                let (text, calls) = (text.clone(), self.finished_calls());
                NextAction::Reply { text, calls, is_truncated: last.is_truncated }
            }
            Some(_) | None => NextAction::Fail(Failure::ModelUnreadable),
        }
    }

    /// The rounds so far for the model: with our own call ids, and `{}` for arguments that do not parse.
    fn tail(&self) -> Vec<ChatMessage> {
        let mut tail = Vec::new();
        for round in &self.rounds {
            let calls: Vec<ToolCall> = round.calls.iter().map(Call::to_tool_call).collect();
            let (text, vendor) = (round.text.clone(), round.vendor.clone());
            tail.push(ChatMessage::Assistant { text, calls, vendor });
            for call in &round.calls {
                if let State::Done(result) = &call.state {
                    tail.push(ChatMessage::Tool { call_id: call.id.clone(), content: result.to_string() });
                }
            }
        }
        tail
    }
}
