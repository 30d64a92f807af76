//! One call of a tool, and its result in the journal.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;

use super::Engine;
use super::context::{Context, place};
use crate::domain::batch::{JournalRow, Journaling, Step, StoreWrite};
use crate::domain::error::Error;
use crate::domain::tool_loop::{CallResult, PlannedCall};
use crate::domain::turn::Turn;
use crate::telemetry::TOOL_CALL_SECONDS;
use crate::tools::{Call, CallContext, NotWritten, Outcome, StoreWrites};

/// What a call came to.
pub(super) enum Called {
    Finished(CallResult),
    Overtaken,
}

/// Makes a call, for at most `time`, and journals its result in `row`.
pub(super) async fn run(
    engine: &Engine,
    turn: &Turn,
    context: &Context,
    planned: &PlannedCall,
    row: JournalRow,
    time: Duration,
) -> Result<Called, Error> {
    let began = Instant::now();
    let outcome = match tokio::time::timeout(time, call(engine, turn, context, planned)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Outcome::Result(CallResult::failed("the call took too long; it may or may not have taken effect"))
        }
    };
    let (result, write) = match outcome {
        Outcome::Result(result) => (Some(result), None),
        Outcome::Write(write) => (None, Some(write)),
    };
    let finished = keep(engine, turn, row, result, write).await?;
    if let Called::Finished(result) = &finished {
        let outcome = if result.fields().contains_key("error") { "error" } else { "ok" };
        let tool = context.version.tools.iter().find(|tool| tool.name == planned.name);
        let kind = tool.map_or("unknown", |tool| tool.kind.as_str());
        metrics::histogram!(TOOL_CALL_SECONDS, "kind" => kind, "outcome" => outcome)
            .record(began.elapsed().as_secs_f64());
    }
    Ok(finished)
}

async fn call(engine: &Engine, turn: &Turn, context: &Context, planned: &PlannedCall) -> Outcome {
    let Some(tool) = context.toolset.get(&planned.name) else {
        return Outcome::Result(CallResult::failed("there is no such tool"));
    };
    let call = Call { id: planned.id.clone(), arguments: planned.arguments.clone() };
    let context = CallContext {
        workspace: turn.workspace,
        conversation: turn.conversation,
        variables: &context.trusted,
        allow_hosts: &context.allow_hosts,
        writes: &InTurn { engine, turn },
    };
    tool.call(&call, &context).await
}

/// What a call under way writes, as its turn's owner.
struct InTurn<'a> {
    engine: &'a Engine,
    turn: &'a Turn,
}

impl fmt::Debug for InTurn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InTurn").field(&self.turn.id).finish()
    }
}

#[async_trait]
impl StoreWrites for InTurn<'_> {
    async fn write(&self, write: StoreWrite) -> Result<Value, NotWritten> {
        let (turn, fence) = (place(self.turn), self.turn.fence);
        let journaling = Journaling { turn, fence, rows: Vec::new(), result: None, write: Some(write) };
        match self.engine.services.writer.journal(journaling).await {
            Ok((Step::Done(_), decided)) => decided.ok_or(NotWritten::Store),
            Ok((Step::Overtaken(_), _)) => Err(NotWritten::Overtaken),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(turn.id = %self.turn.id, error, "what a call writes could not be written");
                Err(NotWritten::Store)
            }
        }
    }
}

async fn keep(
    engine: &Engine,
    turn: &Turn,
    mut row: JournalRow,
    result: Option<CallResult>,
    write: Option<StoreWrite>,
) -> Result<Called, Error> {
    row.finished_at = Some(engine.services.clock.now());
    row.result = result.as_ref().map(ToString::to_string);
    let journaling =
        Journaling { turn: place(turn), fence: turn.fence, rows: Vec::new(), result: Some(row), write };
    Ok(match engine.services.writer.journal(journaling).await? {
        (Step::Overtaken(_), _) => Called::Overtaken,
        (Step::Done(_), decided) => {
            let decided = decided.map(CallResult::new);
            Called::Finished(result.or(decided).unwrap_or_else(|| CallResult::failed("result unavailable")))
        }
    })
}
