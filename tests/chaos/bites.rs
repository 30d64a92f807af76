//! The checker finds what it is there for: a good run's evidence is falsified in one place at a time.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::checker::broken_by;
use crate::client::{Client, Door, Operation};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Evidence, gather};
use crate::fakes::Plan;
use crate::history::History;
use crate::support::db::Backend;

/// What is falsified, how, and which invariants see it.
type Falsified = (&'static str, fn(&mut Evidence), &'static [&'static str]);

const FALSIFIED: [Falsified; 12] = [
    ("a reply that was not paid for", |evidence| evidence.balance += 10_000, &["M1", "M5"]),
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
    ("another reply than the client was told", change_reply, &["I1"]),
    ("a tool that is called twice", repeat_note, &["T1"]),
    ("a call that nobody asked for", |evidence| change_calls(evidence), &["I1", "T2"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_falsification_is_found() {
    let cluster = Cluster::start(Setup::new(Backend::Sqlite, 1)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("bites", 0)));
    let talk = client.talk(Door::Widget, "widget").await;
    let mut done = Vec::new();
    for (number, plan) in [Plan::Note, Plan::Refuse, Plan::Plain].into_iter().enumerate() {
        let text = format!("talk-0 {number} {}", plan.word());
        let operation = Operation { number, talk: talk.clone(), text, key: None, auto_reply: true };
        done.push(client.perform(operation, 0).await);
    }
    let (evidence, _) = gather(&cluster, done).await;
    assert!(broken_by(&evidence).is_empty(), "{:?}", broken_by(&evidence));

    for (what, falsify, expected) in FALSIFIED {
        let mut false_evidence = evidence.clone();
        falsify(&mut false_evidence);
        let found = broken_by(&false_evidence);
        assert!(expected.iter().all(|name| found.contains(name)), "{what}: only {found:?} are broken");
    }
}

fn messages(evidence: &mut Evidence) -> &mut Vec<Value> {
    evidence.messages.values_mut().next().expect("there is a conversation")
}

/// Adds the first of a kind once more.
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

fn change_calls(evidence: &mut Evidence) {
    let reply = messages(evidence).iter_mut().find(|message| is_reply(message)).expect("a reply");
    reply["function_calls"][0]["name"] = json!("lookup");
}

fn repeat_note(evidence: &mut Evidence) {
    let first = evidence.tool_calls[0].clone();
    evidence.tool_calls.push(first);
}
