//! One tool call, and its result in the journal.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;

use super::Engine;
use super::context::{Context, turn_ref};
use super::spans;
use crate::domain::calendar::BookingWrite;
use crate::domain::error::Error;
use crate::domain::journal::JournalRow;
use crate::domain::tool_loop::{CallResult, PlannedCall};
use crate::domain::turn::Turn;
use crate::telemetry::TOOL_CALL_DURATION_SECONDS;
use crate::tools::{Call, CallContext, StoreWriter, ToolOutcome, WriteError};
use crate::writer::{AppendJournal, AppendOutcome, TurnWriteOutcome};

/// The outcome of a call.
pub(super) enum CallOutcome {
    Finished {
        result: CallResult,
        /// A token budget was used up by then.
        is_over_budget: bool,
    },
    FencedOff,
}

/// The bounds of a call.
#[derive(Clone, Copy)]
pub(super) struct CallBounds {
    pub time: Duration,
    /// The longest result, in bytes of JSON.
    pub result: usize,
}

/// Makes a call within `bounds`, and journals its result in `row`.
pub(super) async fn run(
    engine: &Engine,
    turn: &Turn,
    context: &Context,
    planned: &PlannedCall,
    row: JournalRow,
    bounds: CallBounds,
) -> Result<CallOutcome, Error> {
    let began = Instant::now();
    let tool = context.version.tools.iter().find(|tool| tool.spec.name == planned.name);
    let kind = tool.map_or("unknown", |tool| tool.kind.as_str());
    let span = spans::start_tool(planned, kind);
    let calling = span.run(call(engine, turn, context, planned));
    let outcome = match tokio::time::timeout(bounds.time, calling).await {
        Ok(outcome) => outcome,
        Err(_) => ToolOutcome::Result(CallResult::failed(
            "the call took too long; it may or may not have taken effect",
        )),
    };
    let (result, write) = match outcome {
        ToolOutcome::Result(result) => (Some(result.shortened(bounds.result)), None),
        ToolOutcome::Write(write) => (None, Some(write)),
    };
    let finished = journal_result(engine, turn, row, result, write).await?;
    if let CallOutcome::Finished { result, .. } = &finished {
        let outcome = if result.fields().contains_key("error") { "error" } else { "ok" };
        spans::end_tool(&span, result);
        metrics::histogram!(TOOL_CALL_DURATION_SECONDS, "kind" => kind, "outcome" => outcome)
            .record(began.elapsed().as_secs_f64());
    }
    Ok(finished)
}

async fn call(engine: &Engine, turn: &Turn, context: &Context, planned: &PlannedCall) -> ToolOutcome {
    let Some(tool) = context.toolset.get(&planned.name) else {
        return ToolOutcome::Result(CallResult::failed("there is no such tool"));
    };
    let call = Call { id: planned.id.clone(), arguments: planned.arguments.clone() };
    let context = CallContext {
        workspace: turn.workspace,
        conversation: turn.conversation,
        variables: &context.trusted,
        allow_hosts: &context.allow_hosts,
        writer: &TurnWriter { engine, turn },
    };
    tool.call(&call, &context).await
}

/// Writes of a running call, made as the owner of its turn.
struct TurnWriter<'a> {
    engine: &'a Engine,
    turn: &'a Turn,
}

impl fmt::Debug for TurnWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurnWriter").field(&self.turn.id).finish()
    }
}

#[async_trait]
impl StoreWriter for TurnWriter<'_> {
    async fn write(&self, write: BookingWrite) -> Result<Value, WriteError> {
        let append = append(self.turn, None, Some(write));
        match self.engine.services.writer.execute(append).await {
            Ok(AppendOutcome { turn: TurnWriteOutcome::Accepted(_), written, .. }) => {
                written.ok_or(WriteError::Store)
            }
            Ok(AppendOutcome { turn: TurnWriteOutcome::FencedOff(_), .. }) => Err(WriteError::FencedOff),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(turn.id = %self.turn.id, error, "the write of a tool call failed");
                Err(WriteError::Store)
            }
        }
    }
}

/// The result of a call, or a write of it.
fn append(turn: &Turn, result: Option<JournalRow>, write: Option<BookingWrite>) -> AppendJournal {
    AppendJournal {
        turn: turn_ref(turn),
        fence: turn.fence,
        rows: Vec::new(),
        starting: Vec::new(),
        result,
        write,
        tokens: 0,
    }
}

async fn journal_result(
    engine: &Engine,
    turn: &Turn,
    mut row: JournalRow,
    result: Option<CallResult>,
    write: Option<BookingWrite>,
) -> Result<CallOutcome, Error> {
    row.finished_at = Some(engine.services.clock.now());
    row.result = result.as_ref().map(ToString::to_string);
    let AppendOutcome { turn, written, is_over_budget } =
        engine.services.writer.execute(append(turn, Some(row), write)).await?;
    Ok(match turn {
        TurnWriteOutcome::FencedOff(_) => CallOutcome::FencedOff,
        TurnWriteOutcome::Accepted(_) => {
            let result = result.or(written.map(CallResult::new));
            let result = result.unwrap_or_else(|| CallResult::failed("result unavailable"));
            CallOutcome::Finished { result, is_over_budget }
        }
    })
}
