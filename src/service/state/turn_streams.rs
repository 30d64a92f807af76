//! The streams of turns: the parts of a reply as they come, for any number of readers of this process. Only a turn that was
//! asked for as a stream has one. A late reader is replayed from the start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::watch;

use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::tool_loop::{CallResult, PlannedCall, RoundSoFar};

/// The most bytes that the streams of this process keep, and those of one workspace and of one turn. A stream that reaches them gets no
/// more; its readers get the rest from the store, when the turn has ended.
const MAX_BYTES: StreamBounds = StreamBounds { process: 128 << 20, workspace: 32 << 20, turn: 4 << 20 };
/// How much a stream reserves of them at once.
const RESERVED: usize = 16 << 10;
/// The longest arguments and results in a stream, in bytes of JSON; longer ones are excerpts. The whole is in the trace.
pub(in crate::service) const MAX_CALL: usize = 8 << 10;
/// The longest name of a tool in a stream, in bytes.
const MAX_NAME: usize = 256;
/// The longest piece of text for a reader, in bytes: as JSON it fits into a frame of HTTP.
pub(in crate::service) const MAX_PIECE: usize = 2 << 10;

#[derive(Clone, Copy, Debug)]
struct StreamBounds {
    process: usize,
    workspace: usize,
    turn: usize,
}

/// A part of a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnPart {
    RoundStarted,
    /// The next piece of the text of a round.
    Text(String),
    CallStarted {
        id: String,
        name: String,
        /// A JSON object.
        arguments: CallResult,
    },
    CallFinished {
        id: String,
        result: CallResult,
    },
}

impl TurnPart {
    fn bytes(&self) -> usize {
        let content = match self {
            Self::RoundStarted => 0,
            Self::Text(text) => text.len(),
            Self::CallStarted { id, name, arguments } => id.len() + name.len() + arguments.to_string().len(),
            Self::CallFinished { id, result } => id.len() + result.to_string().len(),
        };
        content + size_of::<Self>()
    }
}

/// The streams of this process by turn. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TurnStreams {
    open: Arc<Mutex<HashMap<TurnId, Arc<TurnStream>>>>,
    reserved: Arc<Mutex<Reserved>>,
}

/// The bytes that streams have reserved.
#[derive(Debug, Default)]
struct Reserved {
    total: usize,
    by_workspace: HashMap<WorkspaceId, usize>,
}

/// The stream of one turn.
#[derive(Debug)]
pub(in crate::service) struct TurnStream {
    workspace: WorkspaceId,
    /// When the turn fails, unless some text was shown by then.
    pub(in crate::service) first_text_by: Option<Instant>,
    log: Mutex<Log>,
    changed: watch::Sender<()>,
    reserved: Arc<Mutex<Reserved>>,
}

/// The parts so far. The text of a round is one part, to which later pieces are added.
#[derive(Debug, Default)]
struct Log {
    parts: Vec<TurnPart>,
    /// Counts how often shown parts were taken back. Their readers are broken off.
    generation: u64,
    /// The first part of the current round, after its start.
    round: usize,
    bytes: usize,
    reserved: usize,
    /// Whether a task of this process has run the turn.
    has_begun: bool,
    /// Nothing more is added, because a bound was reached.
    is_full: bool,
    /// Whether there ever was a text, even if it was taken back or did not fit.
    has_had_text: bool,
}

impl Log {
    /// Whether the current round has calls.
    fn has_calls(&self) -> bool {
        self.parts[self.round..].iter().any(|part| matches!(part, TurnPart::CallStarted { .. }))
    }
}

/// A stream that is open until this is dropped, unless it is kept until the end of its turn.
#[derive(Debug)]
pub(in crate::service) struct OpenStream {
    streams: TurnStreams,
    turn: TurnId,
    stream: Option<Arc<TurnStream>>,
}

impl TurnStreams {
    /// Opens the stream of a turn that is about to be admitted.
    pub(in crate::service) fn open(
        &self,
        workspace: WorkspaceId,
        turn: TurnId,
        first_text_by: Option<Instant>,
    ) -> OpenStream {
        let stream = Arc::new(TurnStream {
            workspace,
            first_text_by,
            log: Mutex::default(),
            changed: watch::Sender::new(()),
            reserved: Arc::clone(&self.reserved),
        });
        self.lock().insert(turn, Arc::clone(&stream));
        OpenStream { streams: self.clone(), turn, stream: Some(stream) }
    }

    pub(in crate::service) fn get(&self, turn: TurnId) -> Option<Arc<TurnStream>> {
        self.lock().get(&turn).cloned()
    }

    /// Forgets the stream of a turn that has ended. Its readers read on.
    pub fn close(&self, turn: TurnId) {
        self.lock().remove(&turn);
    }

    /// The turns with a stream that do not run in this process, according to `runs_here`.
    pub(in crate::service) fn idle_turns(
        &self,
        runs_here: impl Fn(TurnId) -> bool,
    ) -> Vec<(WorkspaceId, TurnId)> {
        let open = self.lock();
        let idle = open.iter().filter(|(turn, _)| !runs_here(**turn));
        idle.map(|(turn, stream)| (stream.workspace, *turn)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, Arc<TurnStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenStream {
    /// Keeps the stream open until its turn has ended, and returns a reader of it.
    pub(in crate::service) fn keep(mut self) -> Option<TurnReader> {
        self.stream.take().map(TurnReader::new)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.stream.is_some() {
            self.streams.close(self.turn);
        }
    }
}

impl TurnStream {
    /// A task of this process begins to run the turn. What an earlier one has shown may be outdated.
    pub(in crate::service) fn begin(&self) {
        let mut log = self.lock();
        log.has_begun = true;
        self.take_back(&mut log, 0);
    }

    /// An attempt continues after these rounds.
    pub(in crate::service) fn resume(&self, rounds: impl Iterator<Item = RoundSoFar>) {
        let is_empty = self.lock().parts.is_empty();
        for RoundSoFar { text, calls } in rounds {
            if is_empty {
                self.start_round();
                self.add_text(text.as_deref().unwrap_or_default());
                for (call, _) in &calls {
                    self.start_call(call);
                }
            }
            for (call, result) in calls {
                if let Some(result) = result {
                    self.finish_call(&call.id, result);
                }
            }
        }
    }

    /// The model is called. If an earlier call has failed after text was shown, that is broken off.
    pub(in crate::service) fn start_round(&self) {
        let mut log = self.lock();
        if log.parts.is_empty() || log.has_calls() {
            self.add(&mut log, TurnPart::RoundStarted);
            log.round = log.parts.len();
        } else {
            self.take_back_round(&mut log);
        }
    }

    /// The attempt has failed: text of its round that was shown is broken off. The next attempt shows its own.
    pub(in crate::service) fn break_off(&self) {
        let mut log = self.lock();
        if !log.has_calls() {
            self.take_back_round(&mut log);
        }
    }

    fn take_back_round(&self, log: &mut Log) {
        let round = log.round;
        self.take_back(log, round);
    }

    fn take_back(&self, log: &mut Log, from: usize) {
        if log.parts.len() > from {
            log.parts.truncate(from);
            log.round = log.round.min(from);
            log.generation += 1;
            log.is_full = false;
            log.bytes = log.parts.iter().map(TurnPart::bytes).sum();
            self.changed.send_replace(());
        }
    }

    /// Adds to the text of the round.
    pub(in crate::service) fn add_text(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut log = self.lock();
        log.has_had_text = true;
        if !matches!(log.parts.last(), Some(TurnPart::Text(_))) {
            self.add(&mut log, TurnPart::Text(text.to_owned()));
        } else if self.reserve(&mut log, text.len()) {
            if let Some(TurnPart::Text(last)) = log.parts.last_mut() {
                last.push_str(text);
            }
            self.changed.send_replace(());
        }
    }

    pub(in crate::service) fn start_call(&self, call: &PlannedCall) {
        let arguments = CallResult::new(Value::Object(call.arguments.clone())).shortened(MAX_CALL);
        // The model may write any name.
        let name = call.name[..call.name.floor_char_boundary(MAX_NAME)].to_owned();
        let id = call.id.clone();
        self.add(&mut self.lock(), TurnPart::CallStarted { id, name, arguments });
    }

    /// Adds the result of a call, unless the call is unknown or has one.
    pub(in crate::service) fn finish_call(&self, id: &str, result: CallResult) {
        let mut log = self.lock();
        let (mut is_started, mut is_finished) = (false, false);
        for part in &log.parts {
            match part {
                TurnPart::CallStarted { id: other, .. } => is_started |= other == id,
                TurnPart::CallFinished { id: other, .. } => is_finished |= other == id,
                TurnPart::RoundStarted | TurnPart::Text(_) => {}
            }
        }
        if is_started && !is_finished {
            let result = result.shortened(MAX_CALL);
            self.add(&mut log, TurnPart::CallFinished { id: id.to_owned(), result });
        }
    }

    /// The texts of the rounds so far.
    pub(in crate::service) fn texts(&self) -> Vec<String> {
        let log = self.lock();
        let texts = log.parts.iter().filter_map(|part| match part {
            TurnPart::Text(text) => Some(text.clone()),
            TurnPart::RoundStarted | TurnPart::CallStarted { .. } | TurnPart::CallFinished { .. } => None,
        });
        texts.collect()
    }

    pub(in crate::service) fn has_had_text(&self) -> bool {
        self.lock().has_had_text
    }

    /// Whether something was left out, because a bound was reached.
    pub(in crate::service) fn is_full(&self) -> bool {
        self.lock().is_full
    }

    pub(in crate::service) fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    fn add(&self, log: &mut Log, part: TurnPart) {
        if self.reserve(log, part.bytes()) {
            log.parts.push(part);
            self.changed.send_replace(());
        }
    }

    /// Reserves room for more bytes; false if there is none.
    fn reserve(&self, log: &mut Log, bytes: usize) -> bool {
        if log.is_full {
            return false;
        }
        let needed = log.bytes + bytes;
        if needed > log.reserved {
            let more = (needed - log.reserved).max(RESERVED);
            let fits = needed <= MAX_BYTES.turn && self.reserve_more(more);
            if !fits {
                log.is_full = true;
                return false;
            }
            log.reserved += more;
        }
        log.bytes = needed;
        true
    }

    fn reserve_more(&self, bytes: usize) -> bool {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let total = reserved.total + bytes;
        let of_workspace = reserved.by_workspace.get(&self.workspace).copied().unwrap_or(0) + bytes;
        if total > MAX_BYTES.process || of_workspace > MAX_BYTES.workspace {
            return false;
        }
        reserved.total = total;
        reserved.by_workspace.insert(self.workspace, of_workspace);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TurnStream {
    fn drop(&mut self) {
        let bytes = self.lock().reserved;
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.total -= bytes;
        if let Some(of_workspace) = reserved.by_workspace.get_mut(&self.workspace) {
            *of_workspace -= bytes;
            if *of_workspace == 0 {
                reserved.by_workspace.remove(&self.workspace);
            }
        }
    }
}

/// A reader of a stream, at its own pace.
#[derive(Debug)]
pub(in crate::service) struct TurnReader {
    stream: Arc<TurnStream>,
    changed: watch::Receiver<()>,
    generation: u64,
    /// The part to read next, and how many bytes of it were read if it is a text.
    next: usize,
    offset: usize,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::service) enum ReadOutcome {
    Part(TurnPart),
    /// There is no more so far.
    UpToDate,
    /// Parts that were read were taken back.
    BrokenOff,
}

/// Parts that were read were taken back.
#[derive(Debug)]
pub(in crate::service) struct TakenBack;

impl TurnReader {
    pub(in crate::service) fn new(stream: Arc<TurnStream>) -> Self {
        let changed = stream.changed.subscribe();
        let generation = stream.lock().generation;
        Self { stream, changed, generation, next: 0, offset: 0 }
    }

    pub(in crate::service) fn stream(&self) -> &TurnStream {
        &self.stream
    }

    /// Reads the next part, or the next piece of a text.
    pub(in crate::service) fn read(&mut self) -> ReadOutcome {
        let log = self.stream.lock();
        if self.is_taken_back(&log) {
            return ReadOutcome::BrokenOff;
        }
        self.generation = log.generation;
        loop {
            match log.parts.get(self.next) {
                Some(TurnPart::Text(text)) if self.offset < text.len() => {
                    let end = text.floor_char_boundary(self.offset + MAX_PIECE);
                    let piece = text[self.offset..end].to_owned();
                    self.offset = end;
                    return ReadOutcome::Part(TurnPart::Text(piece));
                }
                Some(TurnPart::Text(_)) if self.next + 1 < log.parts.len() => {
                    self.next += 1;
                    self.offset = 0;
                }
                None | Some(TurnPart::Text(_)) => return ReadOutcome::UpToDate,
                Some(part) => {
                    self.next += 1;
                    return ReadOutcome::Part(part.clone());
                }
            }
        }
    }

    /// Waits until there may be more to read.
    pub(in crate::service) async fn changed(&mut self) {
        // The sender lives in `stream`.
        let _ = self.changed.changed().await;
    }

    /// What was read of the last text, unless another part follows it.
    pub(in crate::service) fn last_text(&self) -> Result<Option<String>, TakenBack> {
        let log = self.stream.lock();
        if self.is_taken_back(&log) {
            return Err(TakenBack);
        }
        Ok(match log.parts.get(self.next) {
            Some(TurnPart::Text(text)) if self.offset > 0 => Some(text[..self.offset].to_owned()),
            Some(_) | None => None,
        })
    }

    fn is_taken_back(&self, log: &Log) -> bool {
        let has_read = self.next > 0 || self.offset > 0;
        has_read && self.generation != log.generation
    }
}

#[cfg(test)]
mod tests;
