//! One attempt at a turn, from what its journal holds to its reply, or to what stops it.

use std::time::Instant;

use futures::future::join_all;

use super::budget::Budget;
use super::context::{Context, load, place};
use super::model_call::{Answered, NoAnswer, ask};
use super::tool_call::{self, Called};
use super::{Engine, store_error};
use crate::domain::batch::{JournalRow, Journaling, Step as Written};
use crate::domain::chat::{ChatMessage, ModelError};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::history::heal;
use crate::domain::ids::MessageId;
use crate::domain::tool_loop::{CallResult, JournalEntry, PlannedCall, Record, Step, ToolLoop};
use crate::domain::trace::{JournalledAnswer, JournalledCall};
use crate::domain::turn::{Reply, Turn, TurnEnd};
use crate::store::StoreError;

/// What an attempt came to.
pub(super) enum Attempted {
    /// With the last answer, for the journal.
    Ended(TurnEnd, Option<JournalRow>),
    Failed(ModelError),
    Paused(Instant),
    Overtaken,
}

/// An attempt under way.
struct Attempt<'a> {
    engine: &'a Engine,
    turn: &'a Turn,
    context: Context,
    tool_loop: ToolLoop,
    budget: Budget,
    /// The last answer, until it is journalled.
    last: Option<JournalRow>,
}

/// Runs one attempt. An error is a write that the store refused for its data.
pub(super) async fn run(engine: &Engine, turn: &Turn) -> Result<Attempted, Error> {
    let context = match load_until_it_is_there(engine, turn).await {
        Ok(Some(context)) => context,
        Ok(None) => return Ok(Attempted::Ended(TurnEnd::Failed(Failure::ServiceUnavailable), None)),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(turn.id = %turn.id, error, "what a turn runs with could not be read");
            return Ok(Attempted::Ended(TurnEnd::Failed(Failure::ServiceUnavailable), None));
        }
    };
    let entries = context.journal.iter().filter_map(entry).collect();
    let tool_loop =
        ToolLoop::replay(turn.id.to_string(), engine.settings.limits, context.toolset.as_ref(), entries);
    let budget = Budget::new(engine.settings.attempt);
    let attempt = Attempt { engine, turn, context, tool_loop, budget, last: None };
    attempt.run().await
}

/// Reads what the turn runs with; a store that is away is waited for, as long as the turn is ours.
async fn load_until_it_is_there(engine: &Engine, turn: &Turn) -> Result<Option<Context>, Error> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
    loop {
        match load(engine, turn).await {
            Err(error) if store_error(&error).is_some_and(StoreError::is_away) => {
                tokio::time::sleep(PAUSE).await;
            }
            loaded => return loaded,
        }
    }
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Attempted, Error> {
        loop {
            let stopped = match self.tool_loop.next() {
                Step::CallModel { step, tail } => self.call_model(step, tail).await?,
                Step::RunTools(calls) => self.run_tools(calls).await?,
                Step::Reply { text, calls } => {
                    let id = MessageId(self.engine.services.ids.ordered(self.engine.services.clock.as_ref()));
                    let function_calls = serde_json::to_string(&calls).unwrap_or_else(|_| "[]".to_owned());
                    let reply = Reply { id, text, function_calls };
                    Some(Attempted::Ended(TurnEnd::Completed(reply), self.last.take()))
                }
                Step::Fail(failure) => Some(Attempted::Ended(TurnEnd::Failed(failure), self.last.take())),
            };
            if let Some(stopped) = stopped {
                return Ok(stopped);
            }
        }
    }

    /// Asks the model; an answer that asks for tools is journalled before any of them runs.
    async fn call_model(&mut self, step: u32, tail: Vec<ChatMessage>) -> Result<Option<Attempted>, Error> {
        let messages = heal([self.context.history.clone(), tail].concat());
        let began = self.engine.services.clock.now();
        let context = &self.context;
        let attempts = self.turn.attempts;
        let asked =
            ask(self.engine, &context.version, &context.toolset, messages, attempts, &mut self.budget).await;
        let Answered { answer, by } = match asked {
            Ok(answered) => answered,
            Err(NoAnswer::Failed(error)) => return Ok(Some(Attempted::Failed(error))),
            Err(NoAnswer::Paused(until)) => return Ok(Some(Attempted::Paused(until))),
        };
        let asks_for_tools = !answer.calls.is_empty();
        let journalled = JournalledAnswer { by, answer: answer.clone() };
        let finished_at = Some(self.engine.services.clock.now());
        let row = JournalRow {
            turn: place(self.turn),
            step: i64::from(step),
            position: 0,
            attempt: attempts + 1,
            started_at: began,
            finished_at,
            content: serde_json::to_string(&journalled).unwrap_or_default(),
            result: None,
        };
        self.tool_loop.on_answer(answer, self.context.toolset.as_ref());
        if !asks_for_tools {
            self.last = Some(row);
            return Ok(None);
        }
        let mut rows = vec![row];
        rows.extend(self.tool_loop.refused().iter().map(|(call, told)| JournalRow {
            finished_at,
            result: Some(told.to_string()),
            ..self.call_row(call)
        }));
        if let Step::RunTools(calls) = self.tool_loop.next() {
            rows.extend(calls.iter().map(|call| self.call_row(call)));
        }
        self.journal(rows).await
    }

    async fn journal(&self, rows: Vec<JournalRow>) -> Result<Option<Attempted>, Error> {
        let journaling =
            Journaling { turn: place(self.turn), fence: self.turn.fence, rows, result: None, write: None };
        match self.engine.services.writer.journal(journaling).await? {
            (Written::Done(_), _) => Ok(None),
            (Written::Overtaken(_), _) => Ok(Some(Attempted::Overtaken)),
        }
    }

    /// Runs a round's calls at once; each result is journalled as it comes.
    async fn run_tools(&mut self, calls: Vec<PlannedCall>) -> Result<Option<Attempted>, Error> {
        // A process that may have lost its turns sends no call until it knows.
        self.engine.has_lease.regained().await;
        let whole = self.budget.left();
        if whole.is_zero() {
            return Ok(Some(Attempted::Failed(ModelError::Timeout)));
        }
        let began = Instant::now();
        let running = calls.iter().map(|call| {
            tool_call::run(self.engine, self.turn, &self.context, call, self.call_row(call), whole)
        });
        let done = join_all(running).await;
        self.budget.take(began.elapsed());
        for (call, called) in calls.iter().zip(done) {
            match called? {
                Called::Finished(result) => self.tool_loop.on_result(call.step, call.position, result),
                Called::Overtaken => return Ok(Some(Attempted::Overtaken)),
            }
        }
        Ok(None)
    }

    fn call_row(&self, call: &PlannedCall) -> JournalRow {
        let PlannedCall { id, name, arguments, .. } = call.clone();
        let content = JournalledCall { id, name, arguments };
        JournalRow {
            turn: place(self.turn),
            step: i64::from(call.step),
            position: i64::from(call.position),
            attempt: self.turn.attempts + 1,
            started_at: self.engine.services.clock.now(),
            finished_at: None,
            content: serde_json::to_string(&content).unwrap_or_default(),
            result: None,
        }
    }
}

/// A row of the journal, as the loop reads it; one that cannot be read is as if it were not there.
fn entry(row: &JournalRow) -> Option<JournalEntry> {
    let step = u32::try_from(row.step).ok()?;
    let position = u32::try_from(row.position).ok()?;
    let record = match (position, &row.result) {
        (0, _) => Record::Answer(serde_json::from_str::<JournalledAnswer>(&row.content).ok()?.answer),
        (_, Some(result)) => Record::Finished(CallResult::new(serde_json::from_str(result).ok()?)),
        (_, None) => Record::Started,
    };
    Some(JournalEntry { step, position, record })
}
