//! The invariants, each a function that names what breaks it. Their names are those of the plan: M of money, A of what
//! was acknowledged, I of idempotency, T of tools.

mod figures;
mod messages;
mod money;
mod turns;

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use self::figures::Figures;
use crate::client::{Done, Outcome};
use crate::evidence::Evidence;

/// A line for each breach of an invariant.
type Broken = Vec<String>;

/// Name, what it says, and what finds its breaches.
type Invariant = (&'static str, &'static str, fn(&Evidence) -> Broken);

const INVARIANTS: [Invariant; 17] = [
    ("M1", "what was spent is the price of the replies that are stored", money::spent_is_price_of_replies),
    ("M2", "the balance was never below zero", money::never_below_zero),
    (
        "M3",
        "each turn is charged once; one without a reply is refunded once",
        money::each_charge_has_reply_or_refund,
    ),
    ("M4", "test conversations never touch money", money::test_is_free),
    ("M5", "the ledger is numbered without a gap, and sums up to the balance", money::ledger_sums_up),
    ("M5b", "that held at every read, and no entry has changed since", money::in_step_at_each_read),
    ("A1", "what was acknowledged is stored", messages::acknowledged_is_stored),
    ("A2", "no message is stored twice, however often it was sent", messages::no_copies),
    ("A3", "each message that asks for a reply has exactly one end in the feed", messages::one_end_each),
    (
        "A4",
        "one reply a message at most, and no model call where none was asked for",
        messages::one_reply_each,
    ),
    ("A5", "replies follow the order of their messages", turns::in_order),
    ("A5b", "no two turns of a conversation call the model at once", turns::never_overlapping),
    ("A6", "a refusal stores nothing", messages::refusal_stores_nothing),
    ("I1", "the reply that a client was told is the one that is stored", messages::told_is_stored),
    (
        "T1",
        "a tool that may not be repeated is called once; a repeated call has the same id",
        turns::tools_called_once,
    ),
    ("T2", "function_calls are the calls that the model asked for, in order", turns::calls_as_asked),
    ("T3", "no turn calls more tools than it may", turns::tool_calls_bounded),
];

/// Prints the figures and the table, and panics where an invariant is broken.
pub fn check(evidence: &Evidence, test: &str, remark: &str) {
    let figures = Figures::of(evidence, test);
    figures.hand_over();
    let mut table = format!("{figures}\n  {remark}\n{}", summary(evidence));
    let mut broken = 0;
    for (name, says, find) in INVARIANTS {
        let found = find(evidence);
        broken += found.len();
        let verdict =
            if found.is_empty() { "holds".to_owned() } else { format!("BROKEN {} times", found.len()) };
        let _ = writeln!(table, "  {name:<4} {verdict:<8} {says}");
        for line in found.iter().take(10) {
            let _ = writeln!(table, "        {line}");
        }
    }
    println!("{table}");
    assert_eq!(broken, 0, "{table}");
}

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    INVARIANTS.into_iter().map(|(name, ..)| name)
}

/// The names of the invariants that this evidence breaks.
pub fn broken_by(evidence: &Evidence) -> Vec<&'static str> {
    INVARIANTS.into_iter().filter(|(_, _, find)| !find(evidence).is_empty()).map(|(name, ..)| name).collect()
}

fn summary(evidence: &Evidence) -> String {
    let count = |is: fn(&Outcome) -> bool| evidence.done.iter().filter(|done| is(&done.outcome)).count();
    let ended = |state: &str| evidence.turns.values().filter(|turn| turn["state"] == state).count();
    format!(
        "  messages {}: ok {}, failed {}, refused {}, unknown {}; retried {}\n  turns {}: completed {}, failed {}, \
         the last ended {:?} after the last answer; model calls {}, tool calls {}; the money was read {} times\n",
        evidence.done.len(),
        count(|outcome| matches!(outcome, Outcome::Ok(_))),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
        count(|outcome| matches!(outcome, Outcome::Refused(_))),
        count(|outcome| matches!(outcome, Outcome::Unknown)),
        evidence.done.iter().filter(|done| done.tries > 1).count(),
        evidence.turns.len(),
        ended("completed"),
        ended("failed"),
        evidence.until_ended,
        evidence.model_calls.len(),
        evidence.tool_calls.len(),
        evidence.watched.readings.len(),
    )
}

/// The stored messages of an operation.
fn copies<'a>(evidence: &'a Evidence, done: &Done) -> Vec<&'a Value> {
    let messages = evidence.messages.get(&done.operation.talk.id).map_or(&[][..], Vec::as_slice);
    messages
        .iter()
        .filter(|message| message["sender_type"] == "user" && message["text"] == *done.operation.text)
        .collect()
}

/// The stored replies to an operation's message.
fn replies<'a>(evidence: &'a Evidence, done: &Done) -> Vec<&'a Value> {
    let ids: HashSet<_> = copies(evidence, done).iter().map(|message| text(message, "id")).collect();
    let messages = evidence.messages.get(&done.operation.talk.id).map_or(&[][..], Vec::as_slice);
    let answers =
        |message: &&Value| message["reply_to_message_id"].as_str().is_some_and(|id| ids.contains(id));
    messages.iter().filter(answers).collect()
}

/// The calls of a reply; one without any may lack the field.
fn calls(reply: &Value) -> &[Value] {
    reply["function_calls"].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
