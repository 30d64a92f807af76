//! Runs a turn: performs the steps of its tool loop, journals them, and ends it. An owner that was fenced off (another
//! process took the turn over, a person took over, the deadline passed) learns so from its next write, and stops.

mod attempt;
mod budget;
mod context;
mod model_call;
mod spans;
mod tool_call;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use quick_cache::sync::Cache;
use tokio_util::sync::CancellationToken;

use super::Services;
use super::state::{RateLimitBackoff, TurnStream};
use crate::domain::assistant::{AssistantVersion, ModelRef};
use crate::domain::chat::{ModelAnswer, ModelError, ModelErrorKind};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::history::HistoryBounds;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::domain::journal::JournalRow;
use crate::domain::retry::backoff;
use crate::domain::token_budget::{CallTokens, TokenBudgets};
use crate::domain::tool_loop::TurnLimits;
use crate::domain::turn::{Api, Turn, TurnEnd};
use crate::lifecycle::lease::LeaseStatus;
use crate::lifecycle::panic_text;
use crate::model::{ConnectedModel, Models, ShowText};
use crate::store::StoreError;
use crate::telemetry::traces;
use crate::tools::Toolset;
use crate::writer::{
    CountTokens, EndAuthority, EndTurn, HandBackTurn, RetryTurn, StartedTurn, TurnSnapshot, TurnWriteOutcome,
};
use attempt::AttemptResult;
use context::turn_ref;

const MAX_CACHED_TOOLSETS: usize = 1_000;
/// The models that are remembered to think without an opening tag, and for how long. A visitor can make any model write a closing
/// tag, so that is remembered for one workspace, and not for ever.
const MAX_LATE_THINKERS: usize = 1_000;
const LATE_THINKER_TTL: Duration = Duration::from_hours(1);

/// The limits of turns.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// The model of assistants that name none.
    pub default_model: String,
    pub limits: TurnLimits,
    pub history: HistoryBounds,
    /// `turn.deadline`, for one attempt.
    pub attempt_timeout: Duration,
    pub max_attempts: i64,
    /// `turn.max_age`, counted from a platform turn's first start.
    pub max_age: Duration,
    /// Those of the server. A workspace may have lower ones.
    pub token_budgets: TokenBudgets,
}

/// Runs turns.
pub struct Engine {
    services: Services,
    models: Models,
    settings: EngineSettings,
    /// No call is sent while the lease of this process is not valid.
    lease: LeaseStatus,
    toolsets: Cache<(AssistantId, i64), Arc<Toolset>>,
    rate_limit_backoff: RateLimitBackoff,
    /// Models whose text was shown and turned out to be thoughts, and when. It is held back from then on until their thoughts have
    /// ended.
    late_thinkers: Cache<(WorkspaceId, ModelRef), Instant>,
}

/// What may end a task of a turn early.
#[derive(Clone, Debug)]
pub struct TurnSignals {
    /// The process stops, and its grace period is over.
    pub hard_stop: CancellationToken,
    /// The turn belongs to this process no longer.
    pub cancelled: CancellationToken,
    /// A client has cancelled the turn: it ends with the text that was shown, or is discarded.
    pub stop: CancellationToken,
}

/// What a running turn has in this process beside its task.
struct LiveTurn<'a> {
    workspace: WorkspaceId,
    /// If the turn was asked for as a stream.
    stream: Option<Arc<TurnStream>>,
    /// Cancelled when a client cancels the turn.
    stop: &'a CancellationToken,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the owner of a turn knows of it besides its journal.
#[derive(Debug, Default)]
struct Progress {
    /// The models that had no time left in earlier attempts.
    slow: Vec<ModelRef>,
    /// The tokens of model calls that have ended, until a write counts them.
    tokens: i64,
    /// Those of the model call that is under way.
    call: Option<CallTokens>,
}

impl Progress {
    /// Adds the tokens of the model call that was under way.
    fn end_call(&mut self, answer: &Result<ModelAnswer, ModelError>) {
        let Some(tokens) = self.call.take() else { return };
        let used = match answer {
            Ok(_) => tokens.sum(),
            Err(error) => tokens.sum_of_failed(error.kind),
        };
        self.tokens = self.tokens.saturating_add(used);
    }

    /// All tokens that are not counted yet, for a write that counts them: it may do so even if nobody hears of its outcome.
    fn take_tokens(&mut self) -> i64 {
        let under_way = self.call.take().map_or(0, |tokens| tokens.sum());
        std::mem::take(&mut self.tokens).saturating_add(under_way)
    }
}

/// The next step after an attempt.
#[expect(clippy::large_enum_variant, reason = "it is moved once, at the end of an attempt")]
enum NextStep {
    /// With the last answer, or with the error of the model.
    End(TurnEnd, Option<JournalRow>, Option<ModelError>),
    /// Another attempt after this pause, unless the turn is too old by then.
    Retry(Duration, ModelError),
    /// All models of the assistant are paused until then.
    Paused(Instant),
    Stop,
}

impl Engine {
    /// An engine without cached toolsets.
    #[must_use]
    pub fn new(services: Services, models: Models, settings: EngineSettings, lease: LeaseStatus) -> Self {
        Self {
            services,
            models,
            settings,
            lease,
            toolsets: Cache::new(MAX_CACHED_TOOLSETS),
            rate_limit_backoff: RateLimitBackoff::default(),
            late_thinkers: Cache::new(MAX_LATE_THINKERS),
        }
    }

    /// Runs a turn that this process owns until it ends or is fenced off. Once `hard_stop` is cancelled, the turn is failed if a
    /// request of this process waits for it, and handed back otherwise. Returns the tokens that no write counts, such as those of a
    /// model call that was broken off.
    pub async fn run(&self, started: StartedTurn, signals: &TurnSignals) -> Option<CountTokens> {
        let StartedTurn { turn: mut owned, snapshot } = started;
        let id = owned.id;
        let mut progress = Progress::default();
        let span = spans::start_turn(&owned);
        let stream = self.services.turn_streams.get(id);
        let live = LiveTurn { workspace: owned.workspace, stream, stop: &signals.stop };
        if let Some(stream) = &live.stream {
            stream.begin();
        }
        let run = async {
            tokio::select! {
                biased;
                () = signals.cancelled.cancelled() => Ok(()),
                caught = AssertUnwindSafe(self.run_attempts(&mut owned, snapshot, &mut progress, &live)).catch_unwind() => match caught {
                    Ok(result) => result,
                    Err(panic) => {
                        tracing::error!(turn.id = %id, "a turn panicked: {}", panic_text(&*panic));
                        // Another attempt would panic, too.
                        let failed = TurnEnd::Failed(Failure::InternalError);
                        self.end(&owned, failed, None, None, &mut progress).await
                    }
                },
                () = signals.hard_stop.cancelled() => self.stop(&owned, &mut progress).await,
                () = live.is_silent() => {
                    let failed = TurnEnd::Failed(Failure::Timeout);
                    self.end(&owned, failed, None, None, &mut progress).await
                }
            }
        };
        let result = span.run(run).await;
        if let Err(error) = result {
            tracing::error!(turn.id = %id, error = &error as &dyn std::error::Error, "a turn could not be continued");
        }
        let tokens = progress.take_tokens();
        (tokens > 0).then(|| CountTokens { turn: turn_ref(&owned), tokens })
    }

    async fn run_attempts(
        &self,
        turn: &mut Turn,
        mut snapshot: Option<TurnSnapshot>,
        progress: &mut Progress,
        live: &LiveTurn<'_>,
    ) -> Result<(), Error> {
        loop {
            let action = match attempt::run(self, turn, snapshot.take(), progress, live).await {
                Ok(AttemptResult::Ended(end, journal)) => NextStep::End(end, journal, None),
                Ok(AttemptResult::Failed(error)) if self.may_retry(turn, &error) => {
                    NextStep::Retry(self.delay(turn, &error), error)
                }
                Ok(AttemptResult::Failed(error)) => {
                    NextStep::End(TurnEnd::Failed(error.kind.failure()), None, Some(error))
                }
                Ok(AttemptResult::Paused(until)) => NextStep::Paused(until),
                Ok(AttemptResult::FencedOff) => NextStep::Stop,
                Err(error) => {
                    tracing::error!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "a turn could not be written");
                    NextStep::End(TurnEnd::Failed(failure_of(&error)), None, None)
                }
            };
            match action {
                NextStep::End(end, journal, error) => {
                    return self.end(turn, end, journal, error, progress).await;
                }
                NextStep::Stop => return Ok(()),
                NextStep::Retry(delay, error) => {
                    if !self.retry(turn, delay, &error, progress.take_tokens()).await? {
                        return Ok(());
                    }
                    if self.is_too_old(turn) {
                        let failed = TurnEnd::Failed(error.kind.failure());
                        return self.end(turn, failed, None, Some(error), progress).await;
                    }
                    if let Some(stream) = &live.stream {
                        stream.break_off();
                    }
                    // The next attempt knows what was shown, and ends the turn if a client has cancelled it.
                    live.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
                }
                NextStep::Paused(until) if turn.api == Api::Widget || live.stream.is_some() => {
                    live.stop.run_until_cancelled(tokio::time::sleep_until(until.into())).await;
                }
                NextStep::Paused(until) => {
                    let delay = until.saturating_duration_since(Instant::now());
                    return self.hand_back(turn, delay).await;
                }
            }
        }
    }

    fn delay(&self, turn: &Turn, error: &ModelError) -> Duration {
        let requested_delay = match error.kind {
            ModelErrorKind::RateLimited { retry_after } => retry_after,
            ModelErrorKind::Timeout
            | ModelErrorKind::TooSlow
            | ModelErrorKind::Unavailable
            | ModelErrorKind::Refused
            | ModelErrorKind::Withheld
            | ModelErrorKind::Unreadable
            | ModelErrorKind::LateThoughts => None,
        };
        backoff(turn.attempts + 1, requested_delay, self.random())
    }

    /// Whether a failed attempt may be followed by another.
    fn may_retry(&self, turn: &Turn, error: &ModelError) -> bool {
        error.kind.is_transient() && turn.attempts + 1 < self.settings.max_attempts
    }

    /// Whether the next attempt would begin after `max_age` or the deadline of the client; all times are from the database
    /// clock.
    fn is_too_old(&self, turn: &Turn) -> bool {
        let is_late = turn.deadline_at.is_some_and(|deadline| turn.not_before >= deadline);
        is_late
            || turn
                .first_started_at
                .is_some_and(|started| turn.not_before.since(started) >= self.settings.max_age)
    }

    /// Records the failed attempt and when the next one begins; `false` if the turn was fenced off.
    async fn retry(
        &self,
        turn: &mut Turn,
        delay: Duration,
        error: &ModelError,
        tokens: i64,
    ) -> Result<bool, Error> {
        let model_error = error.detail_json();
        let retry = RetryTurn { turn: turn_ref(turn), fence: turn.fence, delay, model_error, tokens };
        match self.services.writer.execute(retry).await? {
            TurnWriteOutcome::Accepted(now) => *turn = *now,
            TurnWriteOutcome::FencedOff(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn end(
        &self,
        turn: &Turn,
        end: TurnEnd,
        journal: Option<JournalRow>,
        error: Option<ModelError>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        if let TurnEnd::Failed(failure) = &end {
            traces::fail_current(failure.as_str());
        }
        let model_error = error.and_then(|error| error.detail_json());
        let authority = EndAuthority::Owner { fence: turn.fence };
        let tokens = progress.take_tokens();
        let command = EndTurn { turn: turn_ref(turn), authority, end, journal, model_error, tokens };
        let Err(error) = self.services.writer.execute(command).await else { return Ok(()) };
        tracing::error!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "a turn's end could not be written");
        let end = TurnEnd::Failed(failure_of(&error));
        let command =
            EndTurn { turn: turn_ref(turn), authority, end, journal: None, model_error: None, tokens };
        self.services.writer.execute(command).await.map(drop)
    }

    /// On shutdown: fails the turn if a request waits for it here; otherwise hands it back to another process.
    async fn stop(&self, turn: &Turn, progress: &mut Progress) -> Result<(), Error> {
        if self.services.waiters.has_waiter(turn.id) {
            let failed = TurnEnd::Failed(Failure::ServiceUnavailable);
            return self.end(turn, failed, None, None, progress).await;
        }
        self.hand_back(turn, Duration::ZERO).await
    }

    async fn hand_back(&self, turn: &Turn, delay: Duration) -> Result<(), Error> {
        let hand_back = HandBackTurn { turn: turn_ref(turn), fence: turn.fence, delay, is_takeover: false };
        self.services.writer.execute(hand_back).await.map(drop)
    }

    /// The tools of a version, from the cache or newly built.
    fn toolset(&self, turn: &Turn, version: &Arc<AssistantVersion>) -> Result<Arc<Toolset>, Error> {
        let key = (turn.assistant, turn.assistant_version);
        self.toolsets.get_or_insert_with(&key, || {
            Toolset::build(version, &self.services.tools).map(Arc::new).map_err(Error::internal)
        })
    }

    fn random(&self) -> u32 {
        u32::from_le_bytes(self.services.ids.bytes())
    }
}

impl LiveTurn<'_> {
    /// How the text of a model is shown.
    fn show(&self, engine: &Engine, by: &ModelRef, model: &ConnectedModel) -> ShowText {
        if self.stream.is_none() {
            ShowText::AtEnd
        } else if model.begins_with_thoughts() || self.thinks_late(engine, by) {
            ShowText::AfterThoughts
        } else {
            ShowText::AtOnce
        }
    }

    fn thinks_late(&self, engine: &Engine, by: &ModelRef) -> bool {
        let since = engine.late_thinkers.get(&(self.workspace, by.clone()));
        since.is_some_and(|since| since.elapsed() < LATE_THINKER_TTL)
    }

    /// Waits until the first text is overdue; for ever if it has no deadline or comes in time.
    async fn is_silent(&self) {
        let Some((stream, deadline)) =
            self.stream.as_ref().and_then(|stream| Some((stream, stream.first_text_by?)))
        else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(deadline.into()).await;
        if stream.has_had_text() {
            std::future::pending::<()>().await;
        }
    }
}

/// The failure of a turn that could not be read or written. It ends with a write that carries nothing of what
/// the database refused, and is not tried again: the same data would fail again.
fn failure_of(error: &Error) -> Failure {
    let Error::Internal { source } = error else { return Failure::ServiceUnavailable };
    // Data that the database refuses came from the model.
    let is_data = matches!(source.downcast_ref(), Some(StoreError::Data(_)));
    if is_data { Failure::ModelUnreadable } else { Failure::InternalError }
}
