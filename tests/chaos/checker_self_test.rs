//! Self-test of the checker: it falsifies one thing at a time in the evidence of a good run, and expects the violated
//! invariants to be found.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::checker::{names, violated_by};
use crate::client::{Api, Client, CompletedOperation, Operation, Outcome};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Evidence, gather};
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::outages::Outage;
use crate::support::db::Backend;

/// Description, falsification, and the codes of the invariants that must report it.
type Falsified = (&'static str, fn(&mut Evidence), &'static [&'static str]);

const FALSIFIED: [Falsified; 22] = [
    ("a reply without a charge", |evidence| evidence.balance += 10_000, &["M1", "M5"]),
    ("a balance below zero", |evidence| evidence.ledger[1]["balance_after"] = json!("-0.01"), &["M2", "M5"]),
    ("a charge that is taken twice", |evidence| repeat(&mut evidence.ledger, is_charge), &["M3", "M5"]),
    (
        "a refund that is missing",
        |evidence| evidence.ledger.retain(|entry| entry["kind"] != "refund"),
        &["M3", "M5"],
    ),
    ("a message that is lost", |evidence| messages(evidence).clear(), &["A1", "I1"]),
    ("a message that is stored twice", |evidence| repeat(messages(evidence), is_question), &["A2"]),
    ("a reply that is stored twice", |evidence| repeat(messages(evidence), is_reply), &["A4"]),
    ("an end that is announced twice", |evidence| repeat(&mut evidence.events, is_reply_event), &["A3"]),
    ("replies in another order", swap_replies, &["A5"]),
    ("a reply that differs from the client's", change_reply, &["I1"]),
    ("a streamed text that is doubled", |evidence| double(streamed_text(evidence)), &["S1", "S2"]),
    ("a streamed text that lacks its end", |evidence| shorten(streamed_text(evidence)), &["S1"]),
    ("a tool that is called twice", repeat_note, &["T1"]),
    ("a call that nobody asked for", |evidence| change_calls(evidence), &["I1", "T2"]),
    ("a test conversation that is charged", charge_test, &["M4"]),
    (
        "a balance that never matches the ledger",
        |evidence| evidence.observed_ledger.readings[0].balance += 1,
        &["M5b"],
    ),
    ("an entry that changed later", |evidence| rewrite(&mut evidence.observed_ledger.entries), &["M5b"]),
    (
        "an entry that differed on the second read",
        |evidence| {
            evidence.observed_ledger.rewritten.push(json!({ "number": 1 }));
        },
        &["M5b"],
    ),
    (
        "a turn that starts before the previous one has ended",
        |evidence| evidence.model_calls[0].ended = None,
        &["A5b"],
    ),
    ("an overlapping turn of a process that was killed later", lose_too_late, &["A5b"]),
    ("a refusal that stored its message", refuse_first, &["A6"]),
    ("a turn with endless tool calls", call_without_end, &["T3"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_finds_each_falsification() {
    let cluster = Cluster::start(Setup::new(Backend::Sqlite, 1)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("checker_self_test", 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let conversation = client.create_conversation(Api::Widget).await;
    let free = client.create_test_conversation().await;
    let mut done = Vec::new();
    let plans = [
        (&conversation, Plan::Note, false),
        (&conversation, Plan::Refuse, false),
        (&conversation, Plan::Plain, false),
        (&conversation, Plan::Keyed, true),
        (&free, Plan::Lookup, false),
    ];
    for (number, (conversation, plan, is_streamed)) in plans.into_iter().enumerate() {
        let text = format!("conversation-{} {number} {}", conversation.id, plan.word());
        let operation = Operation {
            number,
            conversation: conversation.clone(),
            text,
            key: None,
            auto_reply: true,
            is_streamed,
        };
        done.push(client.perform(operation, 0).await);
    }
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    assert!(violated_by(&evidence).is_empty(), "{:?}", violated_by(&evidence));

    let covered: Vec<_> = FALSIFIED.iter().flat_map(|(_, _, expected)| *expected).collect();
    assert_eq!(names().find(|name| !covered.contains(&name)), None, "an invariant without a falsification");
    for (what, falsify, expected) in FALSIFIED {
        let mut false_evidence = evidence.clone();
        falsify(&mut false_evidence);
        let found = violated_by(&false_evidence);
        assert!(expected.iter().all(|name| found.contains(name)), "{what}: only {found:?} are reported");
    }
}

/// The messages of the conversation that is charged.
fn messages(evidence: &mut Evidence) -> &mut Vec<Value> {
    let id = &evidence.done[0].operation.conversation.id;
    evidence.messages.get_mut(id).expect("its conversation")
}

/// Duplicates the first value of a kind.
fn repeat(values: &mut Vec<Value>, is_of_kind: fn(&Value) -> bool) {
    let first = values.iter().find(|value| is_of_kind(value)).expect("there is one").clone();
    values.push(first);
}

fn is_charge(entry: &Value) -> bool {
    entry["kind"] == "charge"
}

fn is_question(message: &Value) -> bool {
    message["sender_type"] == "user"
}

fn is_reply(message: &Value) -> bool {
    message["reply_to_message_id"].is_string()
}

fn is_reply_event(event: &Value) -> bool {
    is_reply(&event["data"]["message"])
}

fn swap_replies(evidence: &mut Evidence) {
    let messages = messages(evidence);
    let first = messages.iter().position(is_reply).expect("a reply");
    let last = messages.iter().rposition(is_reply).expect("another");
    messages.swap(first, last);
}

fn change_reply(evidence: &mut Evidence) {
    messages(evidence).iter_mut().find(|message| is_reply(message)).expect("a reply")["text"] =
        json!("other");
}

/// The text of the reply that was streamed.
fn streamed_text(evidence: &mut Evidence) -> &mut String {
    let is_streamed = |done: &&mut CompletedOperation| done.operation.is_streamed;
    let done = evidence.done.iter_mut().find(is_streamed).expect("a stream");
    let Outcome::Ok(response) = &mut done.outcome else { panic!("the stream has no reply") };
    let reply = response.streamed.as_mut().expect("a stream");
    reply.transcripts.last_mut().and_then(|last| last.texts.last_mut()).expect("a text")
}

fn double(text: &mut String) {
    *text = text.repeat(2);
}

fn shorten(text: &mut String) {
    text.pop();
}

fn change_calls(evidence: &mut Evidence) {
    let reply = messages(evidence).iter_mut().find(|message| is_reply(message)).expect("a reply");
    reply["function_calls"][0]["name"] = json!("lookup");
}

fn repeat_note(evidence: &mut Evidence) {
    let first = evidence.tool_calls[0].clone();
    evidence.tool_calls.push(first);
}

fn charge_test(evidence: &mut Evidence) {
    let test = evidence.done.last().and_then(|done| done.outcome.response()?.turn.clone()).expect("its turn");
    evidence.ledger.iter_mut().find(|entry| is_charge(entry)).expect("a charge")["turn_id"] = json!(test);
}

fn rewrite(entries: &mut [Value]) {
    entries[0]["amount"] = json!("0.01");
}

/// Removes the end of the first model call, and adds an outage of its process after the next call has begun.
fn lose_too_late(evidence: &mut Evidence) {
    evidence.model_calls[0].ended = None;
    let at = evidence.model_calls.last().expect("a call").began;
    let process = "server-0-1".to_owned();
    evidence.outages.push(Outage { process, at, until: None });
}

fn refuse_first(evidence: &mut Evidence) {
    let response = evidence.done[0].outcome.response().expect("it was answered").clone();
    evidence.done[0].outcome = Outcome::Refused(response);
}

fn call_without_end(evidence: &mut Evidence) {
    let mut calls = evidence.tool_calls.iter();
    let call = calls.find(|call| call.request.uri.path() == "/lookup").expect("a call of the tool").clone();
    for nth in 0..8 {
        let mut call = call.clone();
        let id = format!("call-{nth}").parse().expect("a header value");
        call.request.headers.insert("idempotency-key", id);
        evidence.tool_calls.push(call);
    }
}
