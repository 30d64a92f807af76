//! Invariants A1 to A4, A6 and I1: acknowledged messages are stored once and answered once, refused ones are not stored, and a
//! client receives the stored reply.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Violations, calls, copies, replies, text};
use crate::client::{Api, Outcome};
use crate::evidence::Evidence;

pub(super) fn acknowledged_is_stored(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    for done in &evidence.done {
        let Outcome::Ok(response) = &done.outcome else { continue };
        let stored = copies(evidence, done);
        let id = response.message();
        // The widget API acknowledges without an id.
        let is_this = |message: &&Value| id.as_deref().is_none_or(|id| message["id"] == *id);
        if !stored.iter().any(is_this) {
            broken.push(format!("{:?} was acknowledged as {id:?}", done.operation.text));
        }
    }
    broken
}

pub(super) fn no_copies(evidence: &Evidence) -> Violations {
    let twice = evidence.done.iter().filter(|done| copies(evidence, done).len() > 1);
    twice.map(|done| format!("{:?} after {} tries", done.operation.text, done.tries)).collect()
}

pub(super) fn one_end_each(evidence: &Evidence) -> Violations {
    let mut ends = HashMap::<&str, usize>::new();
    let mut stored = HashMap::<&str, usize>::new();
    let mut broken = Violations::new();
    let mut last = 0;
    for event in &evidence.events {
        let cursor: i64 = text(event, "cursor").parse().expect("a cursor is a number");
        if cursor <= last {
            broken.push(format!("cursor {cursor} after {last}"));
        }
        last = cursor;
        let data = &event["data"];
        match text(event, "type") {
            "message.created" => {
                *stored.entry(text(&data["message"], "id")).or_default() += 1;
                if let Some(answered) = data["message"]["reply_to_message_id"].as_str() {
                    *ends.entry(answered).or_default() += 1;
                }
            }
            "reply.failed" | "reply.discarded" => {
                *ends.entry(text(data, "reply_to_message_id")).or_default() += 1;
            }
            _ => {}
        }
    }
    for done in &evidence.done {
        for message in copies(evidence, done) {
            let id = text(message, "id");
            let expected = usize::from(done.operation.auto_reply);
            let found = ends.get(id).copied().unwrap_or_default();
            if found != expected {
                broken.push(format!("{:?} ({id}) has {found} ends, not {expected}", done.operation.text));
            }
        }
    }
    let all = evidence.messages.values().flatten().map(|message| text(message, "id"));
    broken.extend(
        all.filter(|id| stored.get(id) != Some(&1)).map(|id| format!("{id} is not once in the feed")),
    );
    broken
}

pub(super) fn one_reply_each(evidence: &Evidence) -> Violations {
    let mut replies = HashMap::<&str, usize>::new();
    for message in evidence.messages.values().flatten() {
        if let Some(answered) = message["reply_to_message_id"].as_str() {
            *replies.entry(answered).or_default() += 1;
        }
    }
    let mut broken: Violations = replies
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(id, count)| format!("{id}: {count} replies"))
        .collect();
    let asked: HashSet<_> = evidence.model_calls.iter().filter_map(|call| call.request.prompt()).collect();
    let quiet = evidence.done.iter().filter(|done| !done.operation.auto_reply);
    broken.extend(
        quiet.filter(|done| asked.contains(&done.operation.text)).map(|done| done.operation.text.clone()),
    );
    broken
}

pub(super) fn refusal_stores_nothing(evidence: &Evidence) -> Violations {
    let refused = evidence.done.iter().filter(|done| matches!(done.outcome, Outcome::Refused(_)));
    refused
        .filter(|done| !copies(evidence, done).is_empty())
        .map(|done| format!("{:?} {:?}", done.operation.text, done.outcome))
        .collect()
}

pub(super) fn received_reply_is_stored(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    for done in evidence.done.iter().filter(|done| done.operation.conversation.api == Api::Widget) {
        let replies = replies(evidence, done);
        match &done.outcome {
            Outcome::Ok(response) if response.streamed.is_none() => {
                let response = response.json();
                let is_same =
                    |reply: &&Value| reply["text"] == response["message"] && calls(reply) == calls(&response);
                if !replies.iter().any(is_same) {
                    broken
                        .push(format!("{:?}: received {response}, stored {replies:?}", done.operation.text));
                }
            }
            Outcome::Failed(_) if !replies.is_empty() => {
                broken.push(format!("{:?} was answered though it failed", done.operation.text));
            }
            _ => {}
        }
    }
    broken
}
