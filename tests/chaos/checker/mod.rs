//! The invariants, each a function that lists its violations. Their codes, which the failure table and the self-test use:
//! `M` for money, `A` for acknowledged messages, `I` for idempotency, `S` for streams, `T` for tools. [`INVARIANTS`] says what
//! each means.

mod figures;
mod messages;
mod money;
mod streams;
mod turns;

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use self::figures::Figures;
use crate::client::{CompletedOperation, Outcome};
use crate::evidence::Evidence;

/// One line for each violation of an invariant.
type Violations = Vec<String>;

/// Code, meaning, and the function that finds its violations.
type Invariant = (&'static str, &'static str, fn(&Evidence) -> Violations);

const INVARIANTS: [Invariant; 19] = [
    ("M1", "the money spent is the price of the stored replies", money::spent_is_price_of_replies),
    ("M2", "the balance was never below zero", money::never_below_zero),
    (
        "M3",
        "each turn is charged once; one without a reply is refunded once",
        money::each_charge_has_reply_or_refund,
    ),
    ("M4", "test conversations never touch money", money::test_is_free),
    ("M5", "the ledger is numbered without a gap, and sums up to the balance", money::ledger_sums_up),
    ("M5b", "M5 is true at every read, and no entry ever changes", money::in_step_at_each_read),
    ("A1", "an acknowledged message is stored", messages::acknowledged_is_stored),
    ("A2", "no message is stored twice, however often it was sent", messages::no_copies),
    (
        "A3",
        "each message that asks for a reply has exactly one end event in the feed",
        messages::one_end_each,
    ),
    (
        "A4",
        "a message has at most one reply, and no model call if it asked for none",
        messages::one_reply_each,
    ),
    ("A5", "replies follow the order of their messages", turns::in_order),
    ("A5b", "no two turns of a conversation call the model at once", turns::never_overlapping),
    ("A6", "a refusal stores nothing", messages::refusal_stores_nothing),
    ("I1", "the reply that a client received is the stored one", messages::received_reply_is_stored),
    (
        "S1",
        "a client that reads a stream ends with exactly the stored reply",
        streams::ends_with_stored_reply,
    ),
    ("S2", "each stream is well-formed, and never joins the texts of two attempts", streams::well_formed),
    (
        "T1",
        "a tool that must not be repeated is called once; a repeated call has the same id",
        turns::tools_called_once,
    ),
    ("T2", "function_calls are the calls that the model asked for, in order", turns::calls_as_asked),
    ("T3", "no turn calls more tools than it may", turns::tool_calls_bounded),
];

/// Prints the figures and the table, and panics if an invariant is violated.
pub fn check(evidence: &Evidence, test: &str, remark: &str) {
    let figures = Figures::of(evidence, test);
    figures.hand_over();
    let mut table = format!("{figures}\n  {remark}\n{}", summary(evidence));
    let mut broken = 0;
    for (name, says, find) in INVARIANTS {
        let found = find(evidence);
        broken += found.len();
        let verdict =
            if found.is_empty() { "ok".to_owned() } else { format!("BROKEN {} times", found.len()) };
        let _ = writeln!(table, "  {name:<4} {verdict:<8} {says}");
        for line in found.iter().take(10) {
            let _ = writeln!(table, "        {line}");
        }
    }
    println!("{table}");
    assert_eq!(broken, 0, "{table}");
}

/// The codes of all invariants.
pub fn names() -> impl Iterator<Item = &'static str> {
    INVARIANTS.into_iter().map(|(name, ..)| name)
}

/// The codes of the invariants that this evidence violates.
pub fn violated_by(evidence: &Evidence) -> Vec<&'static str> {
    INVARIANTS.into_iter().filter(|(_, _, find)| !find(evidence).is_empty()).map(|(name, ..)| name).collect()
}

fn summary(evidence: &Evidence) -> String {
    let count = |is: fn(&Outcome) -> bool| evidence.done.iter().filter(|done| is(&done.outcome)).count();
    let ended = |state: &str| evidence.turns.values().filter(|turn| turn["state"] == state).count();
    let [streams, breaks, histories] = streams::counts(evidence);
    format!(
        "  messages {}: ok {}, failed {}, refused {}, unknown {}; retried {}\n  turns {}: completed {}, failed {}, \
         the last ended {:?} after the last answer; model calls {}, tool calls {}; the money was read {} times\n  \
         streams {streams}: broken off {breaks}, ended in the history {histories}\n",
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
        evidence.observed_ledger.readings.len(),
    )
}

/// The stored messages of an operation.
fn copies<'a>(evidence: &'a Evidence, done: &CompletedOperation) -> Vec<&'a Value> {
    let messages = evidence.messages.get(&done.operation.conversation.id).map_or(&[][..], Vec::as_slice);
    messages
        .iter()
        .filter(|message| message["sender_type"] == "user" && message["text"] == *done.operation.text)
        .collect()
}

/// The stored replies to an operation's message.
fn replies<'a>(evidence: &'a Evidence, done: &CompletedOperation) -> Vec<&'a Value> {
    let ids: HashSet<_> = copies(evidence, done).iter().map(|message| text(message, "id")).collect();
    let messages = evidence.messages.get(&done.operation.conversation.id).map_or(&[][..], Vec::as_slice);
    let answers =
        |message: &&Value| message["reply_to_message_id"].as_str().is_some_and(|id| ids.contains(id));
    messages.iter().filter(answers).collect()
}

/// The tool calls of a reply; the field is absent if there are none.
fn calls(reply: &Value) -> &[Value] {
    reply["function_calls"].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
