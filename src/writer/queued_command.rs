//! A command in a shard, with its outcome and its reply channel.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::batch::{Batch, LoadPlan};
use super::commands::{Command, Decision};
use super::group_commit::QueueItem;
use super::request_state::RequestState;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::turn::{Api, TurnRef};

/// A queued command of any type.
pub(super) type BoxedCommand = Box<dyn QueuedCommand>;

pub(super) trait QueuedCommand: Send + Sync {
    fn is_request(&self) -> bool;

    fn workspace(&self) -> WorkspaceId;

    fn bytes(&self) -> usize;

    fn plan(&self, plan: &mut LoadPlan, now: Micros);

    fn may_start(&self) -> &[Api];

    /// Whether its caller has been told that it failed: it must not happen later.
    fn is_abandoned(&self) -> bool;

    /// Decides the command and stores the outcome, unless it was abandoned.
    fn decide(&mut self, batch: &mut Batch<'_>);

    /// The transaction that it was decided in was not committed.
    fn reset(&self);

    /// Answers with an error, and abandons the command if it is a request.
    fn refuse(&mut self, error: Error);

    /// Answers with the outcome of the committed decision. Returns the turn to end if the caller was told before that the
    /// command failed.
    fn complete(&mut self) -> Option<TurnRef>;
}

impl QueueItem for BoxedCommand {
    fn workspace(&self) -> WorkspaceId {
        self.as_ref().workspace()
    }

    fn bytes(&self) -> usize {
        self.as_ref().bytes()
    }
}

/// Receives the reply to a command.
pub(super) type Answer<C> = oneshot::Receiver<Result<<C as Decision>::Reply, Error>>;

struct Queued<C: Command> {
    command: C,
    /// Set by the last decision.
    outcome: Option<Result<C::Reply, Error>>,
    /// `None` once it was answered.
    reply: Option<oneshot::Sender<Result<C::Reply, Error>>>,
    state: Arc<RequestState>,
}

/// A command to queue, and the channel of its reply. A request is abandoned through `state`. A client that merely
/// disconnects still gets its reply, in the history.
pub(super) fn queued<C: Command>(command: C, state: Arc<RequestState>) -> (BoxedCommand, Answer<C>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Queued { command, outcome: None, reply: Some(reply), state }), answer)
}

impl<C: Command> Queued<C> {
    /// False if the caller does not receive it.
    fn respond(&mut self, outcome: Result<C::Reply, Error>) -> bool {
        self.reply.take().is_some_and(|reply| reply.send(outcome).is_ok())
    }
}

impl<C: Command> QueuedCommand for Queued<C> {
    fn is_request(&self) -> bool {
        C::IS_REQUEST
    }

    fn workspace(&self) -> WorkspaceId {
        self.command.workspace()
    }

    fn bytes(&self) -> usize {
        self.command.bytes()
    }

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        self.command.plan(plan, now);
    }

    fn may_start(&self) -> &[Api] {
        self.command.may_start()
    }

    fn is_abandoned(&self) -> bool {
        C::IS_REQUEST && self.state.is_abandoned()
    }

    fn decide(&mut self, batch: &mut Batch<'_>) {
        let may_decide = !C::IS_REQUEST || self.state.mark_sent();
        self.outcome = may_decide.then(|| self.command.decide(batch));
    }

    fn reset(&self) {
        self.state.reset();
    }

    fn refuse(&mut self, error: Error) {
        if C::IS_REQUEST {
            self.state.abandon();
        }
        self.respond(Err(error));
    }

    fn complete(&mut self) -> Option<TurnRef> {
        let outcome = self.outcome.take()?;
        let turn = outcome.as_ref().ok().and_then(|reply| self.command.abandoned_turn(reply));
        let is_heard = self.respond(outcome);
        turn.filter(|_| !is_heard && self.is_abandoned())
    }
}
