//! A widget request waits for its turn to end: it is woken in process where the turn ends here, else by one poller
//! that reads the ends of all awaited turns in one query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Services;
use super::state::Waiter;
use crate::domain::error::Error;
use crate::domain::failure::{Discard, Failure};
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::message::Message;
use crate::domain::render::{RenderedResponse, widget_turn_end};
use crate::domain::turn::{Reply, Turn, TurnEnd, TurnRef, TurnState};
use crate::store::{Conn, messages, turns};
use crate::writer::{EndAuthority, EndTurn, TurnWriteOutcome};

/// How long ending a turn may take while its client waits.
const END_TIMEOUT: Duration = Duration::from_secs(4);
/// The same during shutdown: the answer must be sent before its connection is closed.
const SHUTDOWN_END_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcome of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    Ended(RenderedResponse),
    DeadlinePassed,
}

impl Waiter {
    /// Waits for the turn to end. Ends it itself once the deadline has passed or the process stops hard, so that no reply
    /// comes later.
    pub async fn answer(
        mut self,
        services: &Services,
        conversation: ConversationId,
        deadline: Instant,
    ) -> Result<RenderedResponse, Error> {
        let (authority, failure, timeout) = tokio::select! {
            answer = self.wait_until(deadline) => match answer {
                Some(end) => return Ok(widget_turn_end(&end)),
                None => (EndAuthority::Deadline, Failure::Timeout, END_TIMEOUT),
            },
            () = services.hard_stop.cancelled() => {
                (EndAuthority::ClientGone, Failure::ServiceUnavailable, SHUTDOWN_END_TIMEOUT)
            }
        };
        let turn = TurnRef { workspace: self.workspace, conversation, turn: self.turn };
        let ended = Box::pin(self.end_turn(services, turn, authority, TurnEnd::Failed(failure)));
        // The writer still ends the turn once the database is available again.
        let unknown = || Err(Error::Unavailable { outcome_unknown: true, source: None });
        tokio::time::timeout(timeout, ended).await.unwrap_or_else(|_| unknown())
    }

    async fn end_turn(
        &mut self,
        services: &Services,
        turn: TurnRef,
        authority: EndAuthority,
        end: TurnEnd,
    ) -> Result<RenderedResponse, Error> {
        loop {
            let model_error = services.model_calls.error(turn.turn);
            let command = EndTurn {
                turn,
                authority,
                end: end.clone(),
                journal: None,
                model_error,
                // The owner counts those of the call that this breaks off.
                tokens: 0,
            };
            match services.writer.execute(command).await.map_err(unknown)? {
                TurnWriteOutcome::Accepted(_) => return Ok(widget_turn_end(&end)),
                TurnWriteOutcome::FencedOff(Some(turn)) if !turn.state.is_open() => {
                    let end = read_end(services, &turn).await.map_err(unknown)?;
                    return Ok(widget_turn_end(&end));
                }
                // By the database clock the deadline has not quite passed.
                TurnWriteOutcome::FencedOff(Some(_)) => {
                    if let Some(end) = self.wait_until(Instant::now() + Duration::from_millis(50)).await {
                        return Ok(widget_turn_end(&end));
                    }
                }
                TurnWriteOutcome::FencedOff(None) => {
                    return Err(Error::Unavailable { outcome_unknown: true, source: None });
                }
            }
        }
    }

    /// Waits for the turn to end, at most until the deadline or the hard stop.
    pub async fn wait_for_end(mut self, services: &Services, deadline: Instant) -> WaitOutcome {
        let end: Option<Arc<TurnEnd>> =
            services.hard_stop.run_until_cancelled(self.wait_until(deadline)).await.flatten();
        end.map_or(WaitOutcome::DeadlinePassed, |end| WaitOutcome::Ended(widget_turn_end(&end)))
    }
}

/// Reads once which awaited turns that do not run here have ended, wakes their waiters, and closes their streams.
pub async fn poll(services: &Services, runs_here: impl Fn(TurnId) -> bool) -> Result<(), Error> {
    let mut awaited = services.waiters.awaited_turns(&runs_here);
    awaited.extend(services.turn_streams.idle_turns(runs_here));
    awaited.sort_unstable();
    awaited.dedup();
    if awaited.is_empty() {
        return Ok(());
    }
    let ended = services.db.control_read(async |conn| turns::list_ended(conn, &awaited).await).await?;
    for turn in ended {
        // An unreadable end must not keep other clients waiting.
        match read_end(services, &turn).await {
            Ok(end) => {
                services.waiters.wake(turn.id, end);
                services.turn_streams.close(turn.id);
            }
            Err(error) => {
                tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "the end of a turn could not be read");
            }
        }
    }
    Ok(())
}

/// The message was admitted, so after any later error its reply may exist.
pub(super) fn unknown(error: Error) -> Error {
    // A refusal for lack of room is of this request, not of the earlier one.
    if matches!(error, Error::Internal { .. } | Error::Overloaded { .. }) {
        return error;
    }
    Error::Unavailable { outcome_unknown: true, source: Some(Box::new(error)) }
}

/// The end of a turn, from its row.
pub async fn read_end(services: &Services, turn: &Turn) -> Result<TurnEnd, Error> {
    let no_reply = || Error::internal(format!("the completed turn {} has no reply", turn.id));
    let reason = turn.reason.as_deref().unwrap_or_default();
    match turn.state {
        TurnState::Completed => {
            let id = turn.reply.ok_or_else(no_reply)?;
            let find = async |conn: Conn<'_>| messages::find(conn, turn.workspace, id).await;
            let mut message = services.db.read(turn.workspace, find).await?.ok_or_else(no_reply)?;
            let function_calls = message.function_calls.take().unwrap_or_else(|| "[]".to_owned());
            let Message { text, is_truncated, is_stopped, earlier_texts, .. } = message;
            let reply = Reply { id, text, function_calls, is_truncated, is_stopped, earlier_texts };
            Ok(TurnEnd::Completed(reply))
        }
        TurnState::Failed => Ok(TurnEnd::Failed(reason.parse().unwrap_or(Failure::ServiceUnavailable))),
        TurnState::Discarded => Ok(TurnEnd::Discarded(reason.parse().unwrap_or(Discard::ConversationEnded))),
        TurnState::Waiting | TurnState::Queued | TurnState::Running => {
            Err(Error::internal(format!("the turn {} has not ended", turn.id)))
        }
    }
}
