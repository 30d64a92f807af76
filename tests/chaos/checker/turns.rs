//! Invariants A5, A5b and T1 to T3: replies in order, turns that never overlap, and bounded tool calls that are not repeated.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{Violations, calls, replies, text};
use crate::evidence::Evidence;
use crate::fakes::Plan;
use crate::outages::Outage;
use crate::support::calls::Call;
use crate::support::fake_model::ModelRequest;

pub(super) fn in_order(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    for (conversation, messages) in &evidence.messages {
        let places: HashMap<_, _> =
            messages.iter().enumerate().map(|(at, message)| (text(message, "id"), at)).collect();
        let answered = messages.iter().filter_map(|message| message["reply_to_message_id"].as_str());
        let answered: Vec<_> = answered.map(|id| places[id]).collect();
        if !answered.is_sorted() {
            broken.push(format!("{conversation}: replies to {answered:?}"));
        }
    }
    broken
}

pub(super) fn never_overlapping(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    let mut calls = BTreeMap::<String, Vec<_>>::new();
    for call in &evidence.model_calls {
        let prompt = prompt(call);
        let conversation = prompt.split(' ').next().unwrap_or_default().to_owned();
        calls.entry(conversation).or_default().push((
            call.began,
            heard_until(call, &evidence.outages),
            prompt,
        ));
    }
    for (conversation, calls) in calls {
        for pair in calls.windows(2) {
            let [(_, ended, first), (began, _, second)] = pair else { continue };
            if ended.is_none_or(|ended| ended > *began) {
                broken.push(format!("{conversation}: the calls for {first:?} and {second:?} overlap"));
            }
        }
    }
    broken
}

/// The longest time from the outage of a process that waited for the model to the next call for the same message.
pub(super) fn slowest_takeover(evidence: &Evidence) -> Option<Duration> {
    let calls = &evidence.model_calls;
    let takeovers = calls.iter().enumerate().filter_map(|(nth, call)| {
        let lost = lost(call, &evidence.outages)?;
        let is_next =
            |next: &&Call<ModelRequest>| process(next) != process(call) && prompt(next) == prompt(call);
        Some(calls[nth + 1..].iter().find(is_next)?.began.duration_since(lost))
    });
    takeovers.max()
}

/// The end of a call: the last byte of its answer, or the outage of its process.
fn heard_until(call: &Call<ModelRequest>, outages: &[Outage]) -> Option<Instant> {
    lost(call, outages).or(call.ended)
}

/// The kill or freeze of its process during the call.
fn lost(call: &Call<ModelRequest>, outages: &[Outage]) -> Option<Instant> {
    let process = process(call)?;
    let mut its = outages.iter().filter(|outage| outage.process == process);
    // A call that was sent just before the outage may arrive just after it.
    let first = its.find(|outage| outage.until.is_none_or(|until| until > call.began))?.at.max(call.began);
    call.ended.is_none_or(|ended| ended > first).then_some(first)
}

/// The calling process, see [`crate::cluster::Cluster`].
fn process(call: &Call<ModelRequest>) -> Option<&str> {
    call.request.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

fn prompt(call: &Call<ModelRequest>) -> String {
    call.request.prompt().unwrap_or_default()
}

pub(super) fn tools_called_once(evidence: &Evidence) -> Violations {
    let mut ids = HashMap::<&str, (usize, HashSet<String>)>::new();
    for call in &evidence.tool_calls {
        let id =
            call.request.headers.get("idempotency-key").and_then(|id| id.to_str().ok()).unwrap_or("none");
        let (count, bodies) = ids.entry(id).or_default();
        *count += usize::from(call.request.uri.path() == "/note");
        bodies.insert(format!("{}{}", call.request.uri, String::from_utf8_lossy(&call.request.body)));
    }
    let wrong = ids.iter().filter(|(_, (notes, bodies))| *notes > 1 || bodies.len() > 1);
    wrong.map(|(id, (notes, bodies))| format!("{id}: {notes} unrepeatable calls, {bodies:?}")).collect()
}

pub(super) fn calls_as_asked(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
    for done in &evidence.done {
        let prompt = &done.operation.text;
        let Some(plan) = Plan::named(prompt).filter(|plan| *plan != Plan::Loop) else { continue };
        for reply in replies(evidence, done) {
            let asked: Vec<_> = calls(reply)
                .iter()
                .map(|call| (text(call, "name").to_owned(), call["arguments"]["text"] == **prompt))
                .collect();
            let expected: Vec<_> = plan.tools().iter().map(|name| ((*name).to_owned(), true)).collect();
            if asked != expected {
                broken.push(format!("{prompt:?}: {}", reply["function_calls"]));
            }
        }
    }
    broken
}

pub(super) fn tool_calls_bounded(evidence: &Evidence) -> Violations {
    const ROUNDS: usize = 8;
    let mut ids = HashMap::<String, HashSet<&str>>::new();
    for call in evidence.tool_calls.iter().filter(|call| call.request.uri.path() == "/lookup") {
        let id =
            call.request.headers.get("idempotency-key").and_then(|id| id.to_str().ok()).unwrap_or("none");
        ids.entry(call.request.uri.to_string()).or_default().insert(id);
    }
    let over = ids.iter().filter(|(_, ids)| ids.len() > ROUNDS);
    over.map(|(uri, ids)| format!("{uri}: {} calls", ids.len())).collect()
}
