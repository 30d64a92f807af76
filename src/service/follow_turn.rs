//! Follows a turn: the parts of its reply as they come, from the start. If this process runs the turn and it was asked for as a
//! stream, they come one by one; otherwise all of them come from the store when the turn has ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Services;
use super::await_reply::read_end;
use super::state::{MAX_CALL, MAX_PIECE, ReadOutcome, TurnPart, TurnReader, Waiter};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::failure::{Discard, Failure};
use crate::domain::ids::{ConversationId, MessageId, ResourceId as _, TurnId, WorkspaceId};
use crate::domain::render::{discard_text, failure_text};
use crate::domain::tool_loop::{CallResult, FinishedCall};
use crate::domain::turn::{Api, Reply, Turn, TurnEnd, TurnRef};
use crate::store::{Conn, StoreError, turns};
use crate::writer::{EndAuthority, EndTurn};

/// A part of a reply for its reader. Rounds and texts do not overlap.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyPart {
    Part(TurnPart),
    TextStarted,
    TextEnded,
    RoundEnded,
    /// The reply is complete and stored: the text of the last round.
    Finished {
        is_truncated: bool,
    },
    /// There is no reply, for this reason; nothing was charged.
    Failed(String),
    /// A client has cancelled the turn. If there was a text, it is the reply.
    Stopped,
    /// The reader comes again, and then reads from the start.
    BrokenOff,
}

impl ReplyPart {
    /// Whether no other part follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::Finished { .. } | Self::Failed(_) | Self::Stopped | Self::BrokenOff => true,
            Self::Part(_) | Self::TextStarted | Self::TextEnded | Self::RoundEnded => false,
        }
    }
}

/// A reader of one reply.
#[derive(Debug)]
pub struct ReplyFollower {
    pub turn: TurnId,
    pub conversation: ConversationId,
    /// The message that the turn answers.
    pub message: MessageId,
    /// Whether a request with the same idempotency key was sent before.
    pub is_replay: bool,
    /// For `Rejoinder-Warning`: what of the first such request had no effect.
    pub warning: Option<String>,
    services: Services,
    waiter: Waiter,
    reader: Option<TurnReader>,
    /// The turn had ended before the reader came.
    end: Option<Arc<TurnEnd>>,
    /// When the turn fails unless it has begun here.
    begins_by: Option<Instant>,
    position: Position,
    /// Whether a text, and whether a call, was shown.
    has_text: bool,
    has_calls: bool,
    ready: VecDeque<ReplyPart>,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Start,
    BetweenRounds,
    /// In a round without a text or calls, or after its text.
    Round,
    Text,
    /// After calls of a round.
    Calls,
}

/// Follows a turn that is about to be admitted, or was.
pub(super) struct Admitted {
    pub turn: TurnRef,
    pub message: MessageId,
    pub waiter: Waiter,
    pub reader: Option<TurnReader>,
    /// When the turn fails unless it has begun here.
    pub begins_by: Option<Instant>,
    /// For `Rejoinder-Warning`.
    pub warning: Option<String>,
}

impl Admitted {
    pub(super) fn follow(self, services: &Services) -> ReplyFollower {
        let Self { turn, message, waiter, reader, begins_by, warning } = self;
        ReplyFollower {
            turn: turn.turn,
            conversation: turn.conversation,
            message,
            is_replay: false,
            warning,
            services: services.clone(),
            waiter,
            reader,
            end: None,
            begins_by,
            position: Position::Start,
            has_text: false,
            has_calls: false,
            ready: VecDeque::new(),
        }
    }
}

/// Follows a turn that was admitted before, from its start, also if it has ended; `None` if there is none.
pub(super) async fn follow(
    services: &Services,
    workspace: WorkspaceId,
    id: TurnId,
) -> Result<Option<ReplyFollower>, Error> {
    // Registered before the turn is read, so that its end cannot be missed.
    let waiter = services.waiters.register_follower(workspace, id)?;
    let reader = services.turn_streams.get(id).map(TurnReader::new);
    let found = services.db.read(workspace, async |conn| turns::find(conn, workspace, id).await).await?;
    let Some(turn) = found else { return Ok(None) };
    let turn_ref = TurnRef { workspace, conversation: turn.conversation, turn: id };
    let (message, begins_by, warning) = (turn.message, None, None);
    let admitted = Admitted { turn: turn_ref, message, waiter, reader, begins_by, warning };
    let mut follower = admitted.follow(services);
    if !turn.state.is_open() {
        follower.end = Some(Arc::new(read_end(services, &turn).await?));
        follower.reader = None;
    }
    Ok(Some(follower))
}

/// Follows an open turn of the account's workspace; `None` if it has ended.
pub async fn resume(
    services: &Services,
    account: &Account,
    name: &str,
) -> Result<Option<ReplyFollower>, Error> {
    let id = TurnId::parse(name)?;
    let follower = follow(services, account.workspace, id).await?;
    let follower = follower.ok_or_else(|| TurnId::not_found(name))?;
    Ok(Some(follower).filter(|follower| follower.end.is_none()))
}

/// Follows the newest open turn that came through the widget API in a conversation; `None` if there is none.
pub(super) async fn resume_newest(
    services: &Services,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<Option<ReplyFollower>, Error> {
    let read = async |conn: Conn<'_>| newest_open(conn, workspace, conversation).await;
    let Some(turn) = services.db.read(workspace, read).await? else { return Ok(None) };
    let follower = follow(services, workspace, turn.id).await?;
    Ok(follower.filter(|follower| follower.end.is_none()))
}

async fn newest_open(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<Option<Turn>, StoreError> {
    let open = turns::list_open(conn.reborrow(), &[(workspace, conversation)].into()).await?;
    let mut newest: Option<Turn> = None;
    for (_, id) in open {
        let turn = turns::find(conn.reborrow(), workspace, id).await?;
        let turn = turn.filter(|turn| turn.api == Api::Widget && turn.state.is_open());
        newest = newest.into_iter().chain(turn).max_by_key(|turn| turn.position);
    }
    Ok(newest)
}

impl ReplyFollower {
    /// Waits for the next part. Cancel safe.
    pub async fn next(&mut self) -> ReplyPart {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return part;
            }
            // Read before the parts, all of which come before it.
            let end = self.end.clone().or_else(|| self.waiter.end());
            match self.reader.as_mut().map_or(ReadOutcome::UpToDate, TurnReader::read) {
                ReadOutcome::Part(part) => self.show(part),
                ReadOutcome::BrokenOff => return ReplyPart::BrokenOff,
                ReadOutcome::UpToDate => match end {
                    Some(end) => self.finish(&end),
                    None if self.services.hard_stop.is_cancelled() => return ReplyPart::BrokenOff,
                    None => self.wait().await,
                },
            }
        }
    }

    /// Waits until there may be another part, or the process stops.
    async fn wait(&mut self) {
        let begins_by = self.begins_by;
        let changed = async {
            match &mut self.reader {
                Some(reader) => reader.changed().await,
                None => std::future::pending().await,
            }
        };
        let is_overdue = async {
            match begins_by {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => return,
            () = self.waiter.ended() => return,
            () = self.services.hard_stop.cancelled() => return,
            () = is_overdue => {}
        }
        self.end_unstarted().await;
    }

    /// Ends the turn, unless a task of this process has begun it: then that ends it, if it is too slow.
    async fn end_unstarted(&mut self) {
        if self.reader.as_ref().is_none_or(|reader| reader.stream().has_begun()) {
            self.begins_by = None;
            return;
        }
        let turn =
            TurnRef { workspace: self.waiter.workspace, conversation: self.conversation, turn: self.turn };
        let (authority, end) = (EndAuthority::ClientGone, TurnEnd::Failed(Failure::Timeout));
        let command = EndTurn { turn, authority, end, journal: None, model_error: None, tokens: 0 };
        if let Err(error) = self.services.writer.execute(command).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(turn.id = %self.turn, error, "a turn that did not begin in time could not be ended");
        }
        // Not before: a ping drops this, and it is tried again.
        self.begins_by = None;
    }

    fn show(&mut self, part: TurnPart) {
        let position = match part {
            TurnPart::RoundStarted => {
                self.end_round();
                Position::Round
            }
            TurnPart::Text(_) => {
                if self.position != Position::Text {
                    self.push(ReplyPart::TextStarted, Position::Text);
                }
                self.has_text = true;
                Position::Text
            }
            TurnPart::CallStarted { .. } | TurnPart::CallFinished { .. } => {
                self.end_text();
                self.has_calls = true;
                Position::Calls
            }
        };
        self.push(ReplyPart::Part(part), position);
    }

    /// Shows a text that comes from the store.
    fn show_text(&mut self, mut text: &str) {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(MAX_PIECE));
            self.show(TurnPart::Text(piece.to_owned()));
            text = rest;
        }
    }

    fn end_text(&mut self) {
        if self.position == Position::Text {
            self.push(ReplyPart::TextEnded, Position::Round);
        }
    }

    fn end_round(&mut self) {
        self.end_text();
        match self.position {
            Position::Start | Position::BetweenRounds => {}
            Position::Round | Position::Text | Position::Calls => {
                self.push(ReplyPart::RoundEnded, Position::BetweenRounds);
            }
        }
    }

    fn push(&mut self, part: ReplyPart, position: Position) {
        self.ready.push_back(part);
        self.position = position;
    }

    fn finish(&mut self, end: &TurnEnd) {
        let last = match end {
            TurnEnd::Completed(reply) if !self.complete(reply) => ReplyPart::BrokenOff,
            TurnEnd::Completed(reply) if reply.is_stopped => ReplyPart::Stopped,
            TurnEnd::Completed(reply) => ReplyPart::Finished { is_truncated: reply.is_truncated },
            TurnEnd::Discarded(Discard::Cancelled) => ReplyPart::Stopped,
            TurnEnd::Discarded(discard) => ReplyPart::Failed(discard_text(*discard)),
            TurnEnd::Failed(failure) => ReplyPart::Failed(failure_text(*failure)),
        };
        if last != ReplyPart::BrokenOff {
            self.end_round();
        }
        self.ready.push_back(last);
    }

    /// Shows what is missing of a reply; false if something else was shown, because another process has made the reply.
    fn complete(&mut self, reply: &Reply) -> bool {
        let calls: Vec<FinishedCall> = serde_json::from_str(&reply.function_calls).unwrap_or_default();
        if !calls.is_empty() && !self.has_calls && !reply.is_stopped {
            if !self.has_text {
                self.replay(reply, calls);
                return true;
            }
            if !self.reader.as_ref().is_some_and(|reader| reader.stream().is_full()) {
                return false;
            }
        }
        let Ok(shown) = self.reader.as_ref().map_or(Ok(None), TurnReader::last_text) else { return false };
        match shown {
            Some(shown) => {
                let Some(rest) = reply.text.strip_prefix(shown.as_str()) else { return false };
                self.show_text(rest);
            }
            None if self.position == Position::Start => self.replay(reply, calls),
            // Its text was shown in a round whose calls were running when it was stopped.
            None if reply.is_stopped => {}
            None => {
                if self.position == Position::Calls {
                    self.show(TurnPart::RoundStarted);
                }
                self.show_text(&reply.text);
            }
        }
        true
    }

    /// Shows a whole reply: what came before its last round as one round.
    fn replay(&mut self, reply: &Reply, calls: Vec<FinishedCall>) {
        let texts = reply.earlier_texts.as_deref().and_then(|texts| serde_json::from_str(texts).ok());
        let texts: Vec<String> = texts.unwrap_or_default();
        if !texts.is_empty() || !calls.is_empty() {
            self.show(TurnPart::RoundStarted);
        }
        for text in texts {
            self.show_text(&text);
            self.end_text();
        }
        for (number, call) in (1_u32..).zip(calls) {
            let id = format!("call_{}_{number}", self.turn);
            let arguments = CallResult::new(call.arguments.into()).shortened(MAX_CALL);
            self.show(TurnPart::CallStarted { id: id.clone(), name: call.name, arguments });
            self.show(TurnPart::CallFinished { id, result: call.result.shortened(MAX_CALL) });
        }
        self.show(TurnPart::RoundStarted);
        self.show_text(&reply.text);
    }
}
