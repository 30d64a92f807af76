//! Widget requests that wait for their turn to end: woken in process where it
//! ends here, else by one poller that asks for all of them in one query.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Services;
use crate::domain::batch::{Ending, Right, Step, TurnRef};
use crate::domain::error::Error;
use crate::domain::failure::{Discard, Failure};
use crate::domain::ids::{ConversationId, TurnId, WorkspaceId};
use crate::domain::rendered::{Answer, widget_end};
use crate::domain::turn::{Reply, Turn, TurnEnd, TurnState};
use crate::store::{messages, turns};

/// How long the store has to end a turn while its client waits for the answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// The same where the process stops: the answer must be out before its connection is closed.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

type Sender = watch::Sender<Option<Answer>>;

/// Who waits for which turn. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waiters {
    waiting: Arc<Mutex<Places>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Places {
    by_turn: HashMap<TurnId, Entry>,
    /// Requests, of which several may wait for one turn.
    requests: usize,
}

#[derive(Debug)]
struct Entry {
    workspace: WorkspaceId,
    count: usize,
    sender: Sender,
}

/// One request's place; given up when it is dropped.
#[derive(Debug)]
pub struct Waiting {
    waiters: Waiters,
    workspace: WorkspaceId,
    turn: TurnId,
    receiver: watch::Receiver<Option<Answer>>,
}

/// What waiting came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    Ended(Answer),
    DeadlinePassed,
}

impl Waiters {
    /// With room for `most` requests at once (`widget.max_waiting`).
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { waiting: Arc::default(), most }
    }

    /// Whether one more may wait: to be asked first, for a refusal must cost nothing.
    pub fn check_room(&self) -> Result<(), Error> {
        self.check_room_beside(self.lock().requests)
    }

    fn check_room_beside(&self, requests: usize) -> Result<(), Error> {
        if requests < self.most {
            return Ok(());
        }
        Err(Error::Overloaded { text: "Too many requests are waiting", retry_after: Duration::from_secs(1) })
    }

    /// Begins to wait for a turn.
    pub fn register(&self, workspace: WorkspaceId, turn: TurnId) -> Result<Waiting, Error> {
        let mut waiting = self.lock();
        self.check_room_beside(waiting.requests)?;
        let entry = waiting.by_turn.entry(turn).or_insert_with(|| Entry {
            workspace,
            count: 0,
            sender: Sender::new(None),
        });
        entry.count += 1;
        let receiver = entry.sender.subscribe();
        waiting.requests += 1;
        drop(waiting);
        Ok(Waiting { waiters: self.clone(), workspace, turn, receiver })
    }

    /// Wakes whoever waits for a turn.
    pub fn wake(&self, turn: TurnId, end: &TurnEnd) {
        if let Some(entry) = self.lock().by_turn.get(&turn) {
            entry.sender.send_replace(Some(widget_end(end)));
        }
    }

    /// How many requests wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().requests
    }

    /// Whether a request of this process waits for a turn.
    #[must_use]
    pub fn is_awaited(&self, turn: TurnId) -> bool {
        self.lock().by_turn.contains_key(&turn)
    }

    /// The turns that are waited for, of those that `is_here` does not run.
    pub fn awaited(&self, is_here: impl Fn(TurnId) -> bool) -> Vec<(WorkspaceId, TurnId)> {
        let waiting = self.lock();
        let elsewhere = waiting.by_turn.iter().filter(|(turn, _)| !is_here(**turn));
        elsewhere.map(|(turn, entry)| (entry.workspace, *turn)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits for the end, and brings it about once the deadline has passed, or the process lets go of
    /// what runs: then no reply comes later.
    pub async fn answer(
        mut self,
        services: &Services,
        conversation: ConversationId,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let (right, failure, patience) = tokio::select! {
            answer = self.until(deadline) => match answer {
                Some(answer) => return Ok(answer),
                None => (Right::Deadline, Failure::Timeout, PATIENCE),
            },
            () = services.stopping.cancelled() => {
                (Right::Unheard, Failure::ServiceUnavailable, LAST_PATIENCE)
            }
        };
        let turn = TurnRef { workspace: self.workspace, conversation, turn: self.turn };
        let ended = self.bring_about(services, turn, right, TurnEnd::Failed(failure));
        // A store that is away carries the end out once it is back.
        let unknown = || Err(Error::Unavailable { outcome_unknown: true, source: None });
        tokio::time::timeout(patience, ended).await.unwrap_or_else(|_| unknown())
    }

    async fn bring_about(
        &mut self,
        services: &Services,
        turn: TurnRef,
        right: Right,
        end: TurnEnd,
    ) -> Result<Answer, Error> {
        loop {
            let ending = Ending { turn, right, end: end.clone(), journal: None };
            match services.writer.end(ending).await.map_err(unknown)? {
                Step::Done(_) => return Ok(widget_end(&end)),
                Step::Overtaken(Some(turn)) if !turn.state.is_open() => {
                    let end = read_end(services, &turn).await.map_err(unknown)?;
                    return Ok(widget_end(&end));
                }
                // By the store's clock the deadline has a moment to go.
                Step::Overtaken(Some(_)) => {
                    if let Some(answer) = self.until(Instant::now() + Duration::from_millis(50)).await {
                        return Ok(answer);
                    }
                }
                Step::Overtaken(None) => {
                    return Err(Error::Unavailable { outcome_unknown: true, source: None });
                }
            }
        }
    }

    /// Waits for the end, at most to the deadline, or until the process lets go of what runs.
    pub async fn end(mut self, services: &Services, deadline: Instant) -> Waited {
        let answer = services.stopping.run_until_cancelled(self.until(deadline)).await;
        answer.flatten().map_or(Waited::DeadlinePassed, Waited::Ended)
    }

    async fn until(&mut self, deadline: Instant) -> Option<Answer> {
        let ended = self.receiver.wait_for(Option::is_some);
        let ended = tokio::time::timeout_at(deadline.into(), ended).await;
        ended.ok().and_then(Result::ok).and_then(|answer| answer.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        waiting.requests -= 1;
        if let Some(entry) = waiting.by_turn.get_mut(&self.turn) {
            entry.count -= 1;
            if entry.count == 0 {
                waiting.by_turn.remove(&self.turn);
            }
        }
    }
}

/// Asks once for all awaited turns that no task here runs, and wakes whose have ended.
pub async fn poll(services: &Services, is_here: impl Fn(TurnId) -> bool) -> Result<(), Error> {
    let awaited = services.waiters.awaited(is_here);
    if awaited.is_empty() {
        return Ok(());
    }
    let ended = services.db.reading(async |conn| turns::list_ended(conn, &awaited).await).await?;
    for turn in ended {
        // One that cannot be read keeps no other client waiting.
        match read_end(services, &turn).await {
            Ok(end) => services.waiters.wake(turn.id, &end),
            Err(error) => {
                tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "how a turn ended could not be read");
            }
        }
    }
    Ok(())
}

/// The message was admitted: whatever fails from there on, its reply may be there.
fn unknown(error: Error) -> Error {
    Error::Unavailable { outcome_unknown: true, source: Some(Box::new(error)) }
}

/// How a turn ended, as its row says it.
pub async fn read_end(services: &Services, turn: &Turn) -> Result<TurnEnd, Error> {
    let unreadable = || Error::Unavailable { outcome_unknown: true, source: None };
    let reason = turn.reason.as_deref().unwrap_or_default();
    match turn.state {
        TurnState::Completed => {
            let id = turn.reply.ok_or_else(unreadable)?;
            let read = services.db.reading(async |conn| messages::find(conn, turn.workspace, id).await);
            let message = read.await?.ok_or_else(unreadable)?;
            let function_calls = message.function_calls.unwrap_or_else(|| "[]".to_owned());
            Ok(TurnEnd::Completed(Reply { id, text: message.text, function_calls }))
        }
        TurnState::Failed => Ok(TurnEnd::Failed(reason.parse().unwrap_or(Failure::ServiceUnavailable))),
        TurnState::Discarded => Ok(TurnEnd::Discarded(reason.parse().unwrap_or(Discard::ConversationEnded))),
        TurnState::Waiting | TurnState::Queued | TurnState::Running => Err(unreadable()),
    }
}
