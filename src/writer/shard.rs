//! A shard: while its commit is under way the next items gather, and are then
//! committed together, with no added delay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batch::{self, CommittedBatch};
use super::request_state::RequestState;
use super::uncertain_commit::UncertainCommit;
use super::{Effect, QueueDepth, WriterContext};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::ids::TurnId;
use crate::domain::turn::{TurnEnd, TurnRef};
use crate::store::StoreError;
use crate::writer::commands::{
    AdmitOutcome, Command, Effects, EndAuthority, EndTurn, EndpointAction, Outcome,
};

const MAX_COMMANDS: usize = 256;
const MAX_BYTES: usize = 4 << 20;
/// How often a batch is tried before its admissions are refused.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// An item on its way, and whom to tell.
pub(super) struct QueuedCommand {
    pub command: Command,
    /// None once it was answered.
    pub reply: Option<oneshot::Sender<Result<Outcome, Error>>>,
    /// Whether whoever asked was answered without us. A client that has merely left still gets its
    /// reply, in the history.
    pub state: Arc<RequestState>,
}

impl QueuedCommand {
    /// Whether a client waits for it, a few seconds at most. All else waits for the store.
    fn is_request(&self) -> bool {
        match self.command {
            Command::Admit(_)
            | Command::Create(_)
            | Command::Update(_)
            | Command::RenewLink(_)
            | Command::TopUp(_) => true,
            Command::Endpoint(ref write) => !matches!(write.action, EndpointAction::Disable(_)),
            Command::End(_) | Command::Journal(_) | Command::Retry(_) | Command::HandBack(_) => false,
        }
    }

    /// Whoever asked has been told that it failed: it must not happen later.
    fn is_abandoned(&self) -> bool {
        self.is_request() && self.state.is_abandoned()
    }

    /// Whether it may be decided now: not where it was given up since.
    fn mark_sent(&self) -> bool {
        !self.is_request() || self.state.mark_sent()
    }

    /// False where nobody hears it.
    fn respond(&mut self, outcome: Result<Outcome, Error>) -> bool {
        self.reply.take().is_some_and(|reply| reply.send(outcome).is_ok())
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.command {
            Command::Admit(admission) => {
                admission.text.len() + admission.metadata.as_ref().map_or(0, String::len) + 512
            }
            Command::End(end) => match &end.end {
                TurnEnd::Completed(reply) => reply.text.len() + reply.function_calls.len() + 512,
                TurnEnd::Failed(_) | TurnEnd::Discarded(_) => 512,
            },
            Command::Journal(append) => {
                let rows = append.rows.iter().chain(&append.result);
                rows.map(|row| row.content.len() + row.result.as_ref().map_or(0, String::len) + 256).sum()
            }
            Command::Create(conversation) => {
                let variables = conversation.key_variables.len() + conversation.visitor_variables.len();
                variables + conversation.metadata.as_ref().map_or(0, String::len) + 1024
            }
            Command::Update(update) => update.patch.metadata.as_ref().map_or(0, String::len) + 1024,
            Command::Retry(_) | Command::HandBack(_) | Command::RenewLink(_) | Command::TopUp(_) => 1024,
            Command::Endpoint(_) => 8192,
        }
    }
}

/// A shard's end that takes items and commits them.
pub(super) struct Shard {
    context: WriterContext,
    incoming: mpsc::UnboundedReceiver<QueuedCommand>,
    /// Items that were put back, or that the shard made itself: before all others.
    front: VecDeque<QueuedCommand>,
    /// A batch whose commit was never answered; before everything, for nobody knows what it changed.
    uncertain: Option<(Vec<QueuedCommand>, UncertainCommit)>,
    /// What waits, `front` included.
    depth: Arc<QueueDepth>,
}

impl Shard {
    pub(super) fn new(
        context: WriterContext,
        incoming: mpsc::UnboundedReceiver<QueuedCommand>,
        depth: Arc<QueueDepth>,
    ) -> Self {
        Self { context, incoming, front: VecDeque::new(), uncertain: None, depth }
    }

    /// Commits what comes until `stop`, and then what is still there.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let (commands, uncertain) = match self.uncertain.take() {
                Some((commands, uncertain)) => (commands, Some(uncertain)),
                None => (self.next_batch(), None),
            };
            if !commands.is_empty() {
                let remaining = self.commit(commands, uncertain).await;
                self.requeue(remaining);
                continue;
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                queued = self.incoming.recv() => match queued {
                    Some(queued) => self.front.push_back(queued),
                    None => return,
                },
                () = stop.cancelled() => {}
            }
        }
    }

    fn next_batch(&mut self) -> Vec<QueuedCommand> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        while commands.len() < MAX_COMMANDS && bytes < MAX_BYTES {
            let Some(queued) = self.front.pop_front().or_else(|| self.incoming.try_recv().ok()) else {
                break;
            };
            self.depth.remove(queued.bytes());
            // Whoever asked has been answered already: an admission that was not sent leaves the shard.
            if queued.is_abandoned() {
                continue;
            }
            bytes += queued.bytes();
            commands.push(queued);
        }
        commands
    }

    fn requeue(&mut self, commands: Vec<QueuedCommand>) {
        for queued in commands.into_iter().rev() {
            self.depth.add(queued.bytes());
            self.front.push_front(queued);
        }
    }

    /// Commits items, and returns those that are still to be, in order: the store is away.
    async fn commit(
        &mut self,
        mut commands: Vec<QueuedCommand>,
        mut uncertain: Option<UncertainCommit>,
    ) -> Vec<QueuedCommand> {
        for attempt in 1..=MAX_ATTEMPTS {
            match self.attempt(&mut commands, &mut uncertain).await {
                Ok(committed) => {
                    self.complete(commands, committed);
                    return Vec::new();
                }
                // While it is unknown whether the batch is there, nothing of it may be decided anew.
                Err(error) if error.is_transient() || uncertain.is_some() => {
                    tracing::warn!(
                        attempt,
                        error = &error as &dyn std::error::Error,
                        "a batch was not committed"
                    );
                    tokio::time::sleep(RETRY_DELAY * attempt).await;
                }
                Err(error) => return self.commit_individually(commands, error).await,
            }
        }
        self.abandon(commands, uncertain)
    }

    /// Tries once. `uncertain` is what became of the try before, and then of this one.
    async fn attempt(
        &self,
        commands: &mut Vec<QueuedCommand>,
        uncertain: &mut Option<UncertainCommit>,
    ) -> Result<CommittedBatch, StoreError> {
        if let Some(sent) = uncertain {
            let is_committed = sent.probe.is_committed(&self.context).await?;
            if let Some(sent) = uncertain.take().filter(|_| is_committed) {
                return Ok(sent.batch);
            }
            reset(commands);
        }
        commands.retain(|queued| !queued.is_abandoned());
        let refs: Vec<&Command> = commands.iter().map(|queued| &queued.command).collect();
        let may_decide = |index: usize| commands.get(index).is_some_and(QueuedCommand::mark_sent);
        batch::run(&self.context, &refs, may_decide).await.map_err(|failed| {
            // What the store refused as data is not there, whenever it did so.
            *uncertain = failed.uncertain.filter(|_| failed.error.is_transient());
            if uncertain.is_none() {
                reset(commands);
            }
            failed.error
        })
    }

    /// A fault in the data fails the item that has it, alone.
    async fn commit_individually(
        &mut self,
        mut commands: Vec<QueuedCommand>,
        error: StoreError,
    ) -> Vec<QueuedCommand> {
        if let [queued] = commands.as_mut_slice() {
            // The caller logs the error.
            queued.respond(Err(error.into()));
            return Vec::new();
        }
        let mut commands = commands.into_iter();
        while let Some(queued) = commands.next() {
            let mut remaining = Box::pin(self.commit(vec![queued], None)).await;
            if !remaining.is_empty() || self.uncertain.is_some() {
                remaining.extend(commands);
                return remaining;
            }
        }
        Vec::new()
    }

    /// The store is away: requests are refused, and the rest is left, in order.
    fn abandon(
        &mut self,
        mut commands: Vec<QueuedCommand>,
        uncertain: Option<UncertainCommit>,
    ) -> Vec<QueuedCommand> {
        let outcome_unknown = uncertain.is_some();
        for queued in commands.iter_mut().filter(|queued| queued.is_request()) {
            queued.state.abandon();
            queued.respond(Err(Error::Unavailable { outcome_unknown, source: None }));
        }
        if let Some(uncertain) = uncertain {
            // Kept whole: if it was committed, what follows from it is still to be done.
            self.uncertain = Some((commands, uncertain));
            return Vec::new();
        }
        commands.retain(|queued| !queued.is_request());
        commands
    }

    fn complete(&mut self, commands: Vec<QueuedCommand>, committed: CommittedBatch) {
        let CommittedBatch { outcomes, mut effects, slots } = committed;
        for (mut queued, outcome) in commands.into_iter().zip(outcomes) {
            let turn = turn_without_idempotency_key(&queued.command, &outcome);
            if !queued.respond(outcome)
                && queued.is_abandoned()
                && let Some(turn) = turn
            {
                self.end_for_gone_client(turn, &mut effects);
            }
        }
        self.context.dispatch(effects, slots);
    }

    /// Whoever sent the message was told that it failed: its turn must not run. A retry with a key
    /// would find it; without one nobody ever will.
    fn end_for_gone_client(&mut self, turn: TurnRef, effects: &mut Effects) {
        effects.started.retain(|started| started.id != turn.turn);
        let end = TurnEnd::Failed(Failure::ServiceUnavailable);
        let command =
            Command::End(Box::new(EndTurn { turn, authority: EndAuthority::ClientGone, end, journal: None }));
        let (reply, _) = oneshot::channel();
        self.requeue(vec![QueuedCommand { command, reply: Some(reply), state: Arc::default() }]);
    }
}

/// The items' transaction was not committed.
fn reset(commands: &[QueuedCommand]) {
    for queued in commands {
        queued.state.reset();
    }
}

fn turn_without_idempotency_key(command: &Command, outcome: &Result<Outcome, Error>) -> Option<TurnRef> {
    let Command::Admit(admission) = command else { return None };
    if admission.idempotency.is_some() {
        return None;
    }
    let turn: TurnId = match outcome {
        Ok(Outcome::Admitted(
            AdmitOutcome::Waiting(turn) | AdmitOutcome::Answered { turn: Some(turn), .. },
        )) => *turn,
        Ok(_) | Err(_) => return None,
    };
    let conversation = match &admission.target {
        crate::writer::commands::Target::Existing { id, .. }
        | crate::writer::commands::Target::New { id, .. } => *id,
    };
    Some(TurnRef { workspace: admission.workspace, conversation, turn })
}

/// Hands on what follows from a batch.
pub(super) fn dispatch(context: &WriterContext, effects: Effects, mut slots: Vec<super::Slot>) {
    if effects.has_deliveries {
        context.send(Effect::Deliveries);
    }
    for turn in effects.cancelled {
        context.send(Effect::Cancelled(turn));
    }
    for (turn, end) in effects.ended {
        context.send(Effect::Ended(Box::new(turn), end));
    }
    for turn in effects.started {
        let index = slots.iter().position(|slot| slot.api() == turn.api);
        let slot = index.map(|index| slots.swap_remove(index).assign(turn.workspace));
        context.send(Effect::Started(Box::new(turn), slot));
    }
    for (workspace, cursor) in effects.latest_cursors {
        context.send(Effect::EventsAdvanced(workspace, cursor));
    }
}
