//! One attempt at a turn: continues from the journal until the reply, a failure, a pause or the loss of ownership.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;

use super::budget::Budget;
use super::context::{Context, load, turn_ref};
use super::model_call::{ModelCallError, ModelResponse, call_models};
use super::tool_call::{self, CallBounds, CallOutcome};
use super::{Engine, LiveTurn, Progress, failure_of, spans};
use crate::domain::chat::{ChatMessage, ModelError, ModelErrorKind};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::failure::{Discard, Failure};
use crate::domain::history::arrange;
use crate::domain::ids::MessageId;
use crate::domain::journal::JournalRow;
use crate::domain::tool_loop::{FinishedCall, NextAction, PlannedCall, ToolLoop, shorten_calls};
use crate::domain::trace::{JournalledAnswer, JournalledCall};
use crate::domain::turn::{Reply, Turn, TurnEnd, earlier_texts};
use crate::service::state::TurnStream;
use crate::writer::{AppendJournal, AppendOutcome, TurnSnapshot, TurnWriteOutcome};

/// The result of an attempt.
#[expect(clippy::large_enum_variant, reason = "it is moved once, at the end of an attempt")]
pub(super) enum AttemptResult {
    /// With the last answer, which is not journalled yet.
    Ended(TurnEnd, Option<JournalRow>),
    Failed(ModelError),
    Paused(Instant),
    FencedOff,
}

/// An attempt in progress.
struct Attempt<'a> {
    engine: &'a Engine,
    turn: &'a Turn,
    context: Context,
    tool_loop: ToolLoop,
    budget: Budget,
    progress: &'a mut Progress,
    live: &'a LiveTurn<'a>,
    /// A token budget is used up: no model is called any more, and no tool, because no reply could follow.
    is_over_budget: bool,
    /// The last answer, until it is journalled.
    last_answer: Option<JournalRow>,
}

/// Runs one attempt. `snapshot` is known if this process has just started the turn.
///
/// # Errors
/// The store refused a write because of its data.
pub(super) async fn run(
    engine: &Engine,
    turn: &Turn,
    snapshot: Option<TurnSnapshot>,
    progress: &mut Progress,
    live: &LiveTurn<'_>,
) -> Result<AttemptResult, Error> {
    // Boxed: the attempt waits for models for much longer than it loads.
    let mut context = match Box::pin(load_with_retry(engine, turn, snapshot)).await {
        Ok(Some(context)) => context,
        Ok(None) => return Ok(AttemptResult::Ended(TurnEnd::Failed(Failure::ServiceUnavailable), None)),
        Err(error) => {
            let failure = failure_of(&error);
            let error = &error as &dyn std::error::Error;
            tracing::error!(turn.id = %turn.id, error, "the context of a turn could not be read");
            return Ok(AttemptResult::Ended(TurnEnd::Failed(failure), None));
        }
    };
    spans::name_turn(&context.version);
    let entries = std::mem::take(&mut context.journal);
    let tool_loop =
        ToolLoop::replay(turn.id.to_string(), engine.settings.limits, context.toolset.as_ref(), entries);
    if let Some(stream) = &live.stream {
        stream.resume(tool_loop.rounds());
    }
    let budget = Budget::new(engine.settings.attempt_timeout);
    let is_over_budget = context.is_over_budget;
    let last_answer = None;
    let attempt =
        Attempt { engine, turn, context, tool_loop, budget, progress, live, is_over_budget, last_answer };
    attempt.run().await
}

/// Reads the context of the turn; retries while the database is unavailable.
async fn load_with_retry(
    engine: &Engine,
    turn: &Turn,
    snapshot: Option<TurnSnapshot>,
) -> Result<Option<Context>, Error> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
    loop {
        match load(engine, turn, snapshot.as_ref()).await {
            Err(Error::Unavailable { .. }) => {
                tokio::time::sleep(PAUSE).await;
            }
            loaded => return loaded,
        }
    }
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<AttemptResult, Error> {
        loop {
            let result = match self.tool_loop.next_action() {
                NextAction::CallModel { .. } | NextAction::RunTools(_) if self.live.stop.is_cancelled() => {
                    Some(self.stopped())
                }
                NextAction::CallModel { .. } | NextAction::RunTools(_) if self.is_over_budget => {
                    let failed = TurnEnd::Failed(Failure::TokenBudgetExhausted);
                    Some(AttemptResult::Ended(failed, None))
                }
                NextAction::CallModel { step, tail } => self.call_model(step, tail).await?,
                NextAction::RunTools(calls) => self.run_tools(calls).await?,
                NextAction::Reply { text, calls, is_truncated } => {
                    let earlier = self.tool_loop.earlier_texts();
                    let reply = Reply { is_truncated, ..self.reply(text, calls, earlier) };
                    Some(AttemptResult::Ended(TurnEnd::Completed(reply), self.last_answer.take()))
                }
                NextAction::Fail(failure) => {
                    Some(AttemptResult::Ended(TurnEnd::Failed(failure), self.last_answer.take()))
                }
            };
            if let Some(result) = result {
                return Ok(result);
            }
        }
    }

    fn reply(&self, text: String, calls: Vec<FinishedCall>, earlier: Vec<String>) -> Reply {
        let calls = shorten_calls(calls);
        Reply {
            id: MessageId::of_reply(self.turn.id),
            text,
            function_calls: serde_json::to_string(&calls).unwrap_or_else(|_| "[]".to_owned()),
            is_truncated: false,
            is_stopped: false,
            earlier_texts: earlier_texts(earlier),
        }
    }

    /// The end of a turn that a client has cancelled: with the text that was shown last, or without a reply if none was.
    fn stopped(&mut self) -> AttemptResult {
        // A call that was broken off has used tokens, too.
        self.progress.tokens = self.progress.take_tokens();
        let mut texts = self.stream().map(TurnStream::texts).unwrap_or_default();
        let end = match texts.pop() {
            Some(text) => {
                let reply = self.reply(text, self.tool_loop.finished_calls(), texts);
                TurnEnd::Completed(Reply { is_stopped: true, ..reply })
            }
            None => TurnEnd::Discarded(Discard::Cancelled),
        };
        AttemptResult::Ended(end, None)
    }

    fn stream(&self) -> Option<&TurnStream> {
        self.live.stream.as_deref()
    }

    /// Calls the model. An answer with tool calls is journalled before any tool runs.
    async fn call_model(
        &mut self,
        step: u32,
        tail: Vec<ChatMessage>,
    ) -> Result<Option<AttemptResult>, Error> {
        let history = &self.context.history;
        let messages = if tail.is_empty() {
            Arc::clone(history)
        } else {
            arrange([history.to_vec(), tail].concat()).into()
        };
        let began = self.engine.services.clock.now();
        let calling = call_models(
            self.engine,
            &self.context,
            messages,
            self.turn,
            self.live,
            &mut self.budget,
            self.progress,
        );
        // A call that is dropped closes its connection.
        let response = self.live.stop.run_until_cancelled(calling).await;
        let ModelResponse { answer, by } = match response {
            Some(Ok(response)) => response,
            Some(Err(ModelCallError::Failed(error))) => return Ok(Some(AttemptResult::Failed(error))),
            Some(Err(ModelCallError::Paused(until))) => return Ok(Some(AttemptResult::Paused(until))),
            None => return Ok(Some(self.stopped())),
        };
        let asks_for_tools = !answer.calls.is_empty();
        let mut journalled = JournalledAnswer { model_ref: by, answer: answer.clone() };
        if !asks_for_tools {
            // No further round needs them.
            journalled.answer.vendor = None;
        }
        let row = self.answer_row(step, began, &journalled);
        self.tool_loop.on_answer(answer, self.context.toolset.as_ref());
        if !asks_for_tools {
            self.last_answer = Some(row);
            return Ok(None);
        }
        let finished_at = row.finished_at;
        let mut rows = vec![row];
        rows.extend(self.tool_loop.rejected_calls().iter().map(|(call, result)| JournalRow {
            finished_at,
            result: Some(result.to_string()),
            ..self.call_row(call)
        }));
        let starting: Vec<_> = match self.tool_loop.next_action() {
            NextAction::RunTools(calls) => calls.iter().map(|call| self.call_row(call)).collect(),
            NextAction::CallModel { .. } | NextAction::Reply { .. } | NextAction::Fail(_) => Vec::new(),
        };
        let result = self.journal(rows, starting).await?;
        if result.is_none() {
            self.show_calls();
        }
        Ok(result)
    }

    /// The row of an answer that has just ended.
    fn answer_row(&self, step: u32, started_at: Micros, answer: &JournalledAnswer) -> JournalRow {
        JournalRow {
            turn: turn_ref(self.turn),
            step: i64::from(step),
            position: 0,
            attempt: self.turn.attempts + 1,
            started_at,
            finished_at: Some(self.engine.services.clock.now()),
            content: serde_json::to_string(answer).unwrap_or_default(),
            result: None,
        }
    }

    /// Shows the calls of the last round, with the results of those that cannot be made.
    fn show_calls(&self) {
        let Some(stream) = self.stream() else { return };
        let calls = self.tool_loop.rounds().next_back().map(|round| round.calls).unwrap_or_default();
        for (call, result) in calls {
            stream.start_call(&call);
            if let Some(result) = result {
                stream.finish_call(&call.id, result);
            }
        }
    }

    async fn journal(
        &mut self,
        rows: Vec<JournalRow>,
        starting: Vec<JournalRow>,
    ) -> Result<Option<AttemptResult>, Error> {
        let tokens = self.progress.take_tokens();
        let append = AppendJournal {
            turn: turn_ref(self.turn),
            fence: self.turn.fence,
            rows,
            starting,
            result: None,
            write: None,
            tokens,
        };
        let written = self.engine.services.writer.execute(append).await;
        if written.is_err() {
            // The end of the turn counts them.
            self.progress.tokens = tokens;
        }
        let AppendOutcome { turn, is_over_budget, .. } = written?;
        match turn {
            TurnWriteOutcome::Accepted(_) => {
                self.is_over_budget = is_over_budget;
                Ok(None)
            }
            TurnWriteOutcome::FencedOff(_) => Ok(Some(AttemptResult::FencedOff)),
        }
    }

    /// Runs the calls of a round concurrently and journals each result when it arrives.
    async fn run_tools(&mut self, calls: Vec<PlannedCall>) -> Result<Option<AttemptResult>, Error> {
        // A process whose lease is stale may have lost the turn, and sends no call until it has renewed the lease.
        self.engine.lease.wait_until_valid().await;
        let time_left = self.budget.remaining();
        if time_left.is_zero() {
            return Ok(Some(AttemptResult::Failed(ModelErrorKind::Timeout.into())));
        }
        let bounds = CallBounds { time: time_left, result: self.tool_loop.max_result() };
        let began = Instant::now();
        let this = &*self;
        let running = calls.iter().map(|call| this.run_tool(call, bounds));
        let done = join_all(running).await;
        self.budget.consume(began.elapsed());
        for (call, called) in calls.iter().zip(done) {
            match called? {
                CallOutcome::Finished { result, is_over_budget } => {
                    self.tool_loop.on_result(call.step, call.position, result);
                    self.is_over_budget |= is_over_budget;
                }
                CallOutcome::FencedOff => return Ok(Some(AttemptResult::FencedOff)),
            }
        }
        Ok(None)
    }

    /// Runs a call, and shows its result.
    async fn run_tool(&self, call: &PlannedCall, bounds: CallBounds) -> Result<CallOutcome, Error> {
        let row = self.call_row(call);
        let outcome = tool_call::run(self.engine, self.turn, &self.context, call, row, bounds).await?;
        if let (Some(stream), CallOutcome::Finished { result, .. }) = (self.stream(), &outcome) {
            stream.finish_call(&call.id, result.clone());
        }
        Ok(outcome)
    }

    fn call_row(&self, call: &PlannedCall) -> JournalRow {
        let PlannedCall { id, name, arguments, .. } = call.clone();
        let content = JournalledCall { id, name, arguments };
        JournalRow {
            turn: turn_ref(self.turn),
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
