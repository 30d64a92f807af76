//! Invariants S1 and S2: a client that reads a stream ends with exactly the stored reply, and every stream is well-formed.

use serde_json::Value;

use super::{Violations, calls, replies, text};
use crate::client::{CompletedOperation, Outcome};
use crate::evidence::Evidence;
use crate::transcript::{Ending, StreamedReply, Transcript};

/// The operations whose clients have read a stream.
fn streamed(evidence: &Evidence) -> impl Iterator<Item = (&CompletedOperation, &StreamedReply)> {
    evidence.done.iter().filter_map(|done| Some((done, done.outcome.response()?.streamed.as_ref()?)))
}

pub(super) fn ends_with_stored_reply(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    for (done, reply) in streamed(evidence) {
        let stored = replies(evidence, done);
        let sent = &done.operation.text;
        match &done.outcome {
            Outcome::Ok(_) => {
                let is_same = |stored: &&Value| {
                    Some(text(stored, "text")) == reply.text()
                        && reply.transcripts.iter().all(|transcript| is_of(transcript, stored))
                };
                if !stored.iter().any(is_same) {
                    broken.push(format!("{sent:?}: received {reply:?}, stored {stored:?}"));
                }
            }
            Outcome::Failed(_) if !stored.is_empty() => {
                broken.push(format!("{sent:?} was answered though its stream failed"));
            }
            _ => {}
        }
    }
    broken
}

/// Whether the stream announced this reply and, if it came to the end, has its calls.
fn is_of(transcript: &Transcript, stored: &Value) -> bool {
    let is_announced = transcript.message.as_deref().is_none_or(|id| id == text(stored, "id"));
    let is_whole = transcript.ending == Ending::Finished;
    let calls = calls(stored);
    let has_calls = transcript.calls.len() == calls.len()
        && transcript.calls.iter().zip(calls).all(|(streamed, stored)| {
            streamed.name == text(stored, "name") && streamed.input == stored["arguments"]
        });
    is_announced && (has_calls || !is_whole)
}

pub(super) fn well_formed(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    for (done, reply) in streamed(evidence) {
        let sent = &done.operation.text;
        for transcript in &reply.transcripts {
            broken.extend(transcript.faults.iter().map(|fault| format!("{sent:?}: {fault}")));
            // The model's answers repeat the message.
            let is_joined = |text: &&String| text.matches(sent.as_str()).count() > 1;
            let joined = transcript.texts.iter().filter(is_joined);
            broken.extend(joined.map(|text| format!("{sent:?}: two texts were joined: {text:?}")));
        }
    }
    broken
}

/// Streams, lost connections, and replies that were read from the history in the end.
pub(super) fn counts(evidence: &Evidence) -> [usize; 3] {
    streamed(evidence).fold([0; 3], |[streams, breaks, histories], (_, reply)| {
        let from_history = usize::from(reply.from_history.is_some());
        [streams + reply.transcripts.len(), breaks + reply.breaks(), histories + from_history]
    })
}
