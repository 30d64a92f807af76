//! The invariants, each a function that names what breaks it. Their names are those of the plan: M of money, A of acknowledgement,
//! I of idempotency, T of tools.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::client::{Done, Door, Outcome};
use crate::evidence::{Evidence, micros};
use crate::fakes::Plan;

type Broken = Vec<String>;

/// Name, what it says, and what finds its breaches.
const INVARIANTS: [(&str, &str, fn(&Evidence) -> Broken); 16] = [
    ("M1", "what was spent is the price of the replies that are stored", spent_is_price_of_replies),
    ("M2", "the balance was never below zero", never_below_zero),
    (
        "M3",
        "each turn is charged once; one without a reply is refunded once",
        each_charge_has_reply_or_refund,
    ),
    ("M4", "test conversations never touch money", test_is_free),
    ("M5", "the ledger is numbered without a gap, and sums up to the balance", ledger_sums_up),
    ("A1", "what was acknowledged is stored", acknowledged_is_stored),
    ("A2", "no message is stored twice, however often it was sent", no_copies),
    ("A3", "each message that asks for a reply has exactly one end in the feed", one_end_each),
    ("A4", "one reply a message at most, and no model call where none was asked for", one_reply_each),
    ("A5", "replies follow the order of their messages", in_order),
    ("A5b", "no two turns of a conversation call the model at once", never_overlapping),
    ("A6", "a refusal stores nothing", refusal_stores_nothing),
    ("I1", "the reply that a client was told is the one that is stored", told_is_stored),
    (
        "T1",
        "a tool that may not be repeated is called once; a repeated call has the same id",
        tools_called_once,
    ),
    ("T2", "function_calls are the calls that the model asked for, in order", calls_as_asked),
    ("T3", "no turn calls more tools than it may", tool_calls_bounded),
];

/// Prints the table, and panics where an invariant is broken.
pub fn check(evidence: &Evidence, title: &str) {
    check_but(evidence, &[], title);
}

/// The same without the invariants of these names, which the test breaks itself.
pub fn check_but(evidence: &Evidence, but: &[&str], title: &str) {
    let mut table = format!("{title}\n{}", summary(evidence));
    let mut broken = 0;
    for (name, says, find) in INVARIANTS.into_iter().filter(|(name, ..)| !but.contains(name)) {
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

/// The names of the invariants that this evidence breaks.
pub fn broken_by(evidence: &Evidence) -> Vec<&'static str> {
    INVARIANTS.into_iter().filter(|(_, _, find)| !find(evidence).is_empty()).map(|(name, ..)| name).collect()
}

fn summary(evidence: &Evidence) -> String {
    let count = |is: fn(&Outcome) -> bool| evidence.done.iter().filter(|done| is(&done.outcome)).count();
    let ended = |state: &str| evidence.turns.values().filter(|turn| turn["state"] == state).count();
    format!(
        "  messages {}: ok {}, failed {}, refused {}, unknown {}; retried {}\n  turns {}: completed {}, failed {}; \
         model calls {}, tool calls {}; lost {}, doubled {}, charged twice {}, open {}\n",
        evidence.done.len(),
        count(|outcome| matches!(outcome, Outcome::Ok(_))),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
        count(|outcome| matches!(outcome, Outcome::Refused(_))),
        count(|outcome| matches!(outcome, Outcome::Unknown)),
        evidence.done.iter().filter(|done| done.tries > 1).count(),
        evidence.turns.len(),
        ended("completed"),
        ended("failed"),
        evidence.model_calls.len(),
        evidence.tool_calls.len(),
        acknowledged_is_stored(evidence).len(),
        no_copies(evidence).len() + one_reply_each(evidence).len(),
        each_charge_has_reply_or_refund(evidence).len(),
        evidence.turns.values().filter(|turn| turn.get("ended_at").is_none()).count(),
    )
}

fn spent_is_price_of_replies(evidence: &Evidence) -> Broken {
    let topped_up: i64 = entries(evidence, "top_up").map(|entry| micros(&entry["amount"])).sum();
    let completed = evidence.turns.values().filter(|turn| turn["state"] == "completed");
    let price: i64 = completed.map(|turn| micros(&turn["price"])).sum();
    let spent = topped_up - evidence.balance;
    if spent == price { Broken::new() } else { vec![format!("spent {spent}, replies are worth {price}")] }
}

fn never_below_zero(evidence: &Evidence) -> Broken {
    let below = evidence.ledger.iter().filter(|entry| micros(&entry["balance_after"]) < 0);
    below.map(Value::to_string).collect()
}

fn each_charge_has_reply_or_refund(evidence: &Evidence) -> Broken {
    let mut charges = HashMap::<&str, (usize, usize, i64)>::new();
    for entry in &evidence.ledger {
        let Some(turn) = entry["turn_id"].as_str() else { continue };
        let (charged, refunded, sum) = charges.entry(turn).or_default();
        *charged += usize::from(entry["kind"] == "charge");
        *refunded += usize::from(entry["kind"] == "refund");
        *sum += micros(&entry["amount"]);
    }
    let is_right = |turn: &Value, &(charged, refunded, sum): &(usize, usize, i64)| {
        let is_completed = turn["state"] == "completed";
        let is_paid = sum == if is_completed { -micros(&turn["price"]) } else { 0 };
        charged == 1 && refunded == usize::from(!is_completed) && is_paid
    };
    let wrong = charges.iter().filter(|(turn, found)| !is_right(&evidence.turns[**turn], found));
    wrong
        .map(|(turn, found)| {
            format!("{turn} {}: (charges, refunds, sum) {found:?}", evidence.turns[*turn]["state"])
        })
        .collect()
}

fn test_is_free(evidence: &Evidence) -> Broken {
    let is_test = |turn: &&Value| evidence.conversations[text(turn, "conversation_id")]["type"] == "test";
    let tests = evidence.turns.values().filter(is_test);
    let charged: HashSet<_> = evidence.ledger.iter().filter_map(|entry| entry["turn_id"].as_str()).collect();
    let paid = tests.filter(|turn| charged.contains(text(turn, "id")) || micros(&turn["price"]) != 0);
    paid.map(|turn| text(turn, "id").to_owned()).collect()
}

fn ledger_sums_up(evidence: &Evidence) -> Broken {
    let mut broken = Broken::new();
    let mut sum = 0;
    for (nth, entry) in (1_i64..).zip(&evidence.ledger) {
        sum += micros(&entry["amount"]);
        if entry["number"] != nth || micros(&entry["balance_after"]) != sum {
            broken.push(format!("entry {nth}, sum {sum}: {entry}"));
        }
    }
    if sum != evidence.balance {
        broken.push(format!("the sum is {sum}, the balance {}", evidence.balance));
    }
    broken
}

fn acknowledged_is_stored(evidence: &Evidence) -> Broken {
    let mut broken = Broken::new();
    for done in &evidence.done {
        let Outcome::Ok(told) = &done.outcome else { continue };
        let stored = copies(evidence, done);
        let id = &told.json()["data"]["message"]["id"];
        let is_this = |message: &&Value| done.operation.talk.door == Door::Widget || message["id"] == *id;
        if !stored.iter().any(is_this) {
            broken.push(format!("{:?} was acknowledged as {id}", done.operation.text));
        }
    }
    broken
}

fn no_copies(evidence: &Evidence) -> Broken {
    let twice = evidence.done.iter().filter(|done| copies(evidence, done).len() > 1);
    twice.map(|done| format!("{:?} after {} tries", done.operation.text, done.tries)).collect()
}

fn one_end_each(evidence: &Evidence) -> Broken {
    let mut ends = HashMap::<&str, usize>::new();
    let mut stored = HashMap::<&str, usize>::new();
    let mut broken = Broken::new();
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

fn one_reply_each(evidence: &Evidence) -> Broken {
    let mut replies = HashMap::<&str, usize>::new();
    for message in evidence.messages.values().flatten() {
        if let Some(answered) = message["reply_to_message_id"].as_str() {
            *replies.entry(answered).or_default() += 1;
        }
    }
    let mut broken: Broken = replies
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(id, count)| format!("{id}: {count} replies"))
        .collect();
    let asked: HashSet<_> =
        evidence.model_calls.iter().filter_map(|call| call.request.last_text("user")).collect();
    let quiet = evidence.done.iter().filter(|done| !done.operation.auto_reply);
    broken.extend(
        quiet.filter(|done| asked.contains(&done.operation.text)).map(|done| done.operation.text.clone()),
    );
    broken
}

fn in_order(evidence: &Evidence) -> Broken {
    let mut broken = Broken::new();
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

fn never_overlapping(evidence: &Evidence) -> Broken {
    let mut broken = Broken::new();
    let mut calls = BTreeMap::<String, Vec<_>>::new();
    for call in &evidence.model_calls {
        let said = call.request.last_text("user").unwrap_or_default();
        let talk = said.split(' ').next().unwrap_or_default().to_owned();
        calls.entry(talk).or_default().push((call.began, call.ended, said));
    }
    for (talk, calls) in calls {
        for pair in calls.windows(2) {
            let [(_, ended, first), (began, _, second)] = pair else { continue };
            if ended.is_none_or(|ended| ended > *began) {
                broken.push(format!("{talk}: the calls for {first:?} and {second:?} overlap"));
            }
        }
    }
    broken
}

fn refusal_stores_nothing(evidence: &Evidence) -> Broken {
    let refused = evidence.done.iter().filter(|done| matches!(done.outcome, Outcome::Refused(_)));
    refused
        .filter(|done| !copies(evidence, done).is_empty())
        .map(|done| format!("{:?} {:?}", done.operation.text, done.outcome))
        .collect()
}

fn told_is_stored(evidence: &Evidence) -> Broken {
    let mut broken = Broken::new();
    for done in evidence.done.iter().filter(|done| done.operation.talk.door == Door::Widget) {
        let replies = replies(evidence, done);
        match &done.outcome {
            Outcome::Ok(told) => {
                let told = told.json();
                let is_same =
                    |reply: &&Value| reply["text"] == told["message"] && calls(reply) == calls(&told);
                if !replies.iter().any(is_same) {
                    broken.push(format!("{:?}: told {told}, stored {replies:?}", done.operation.text));
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

fn tools_called_once(evidence: &Evidence) -> Broken {
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

fn calls_as_asked(evidence: &Evidence) -> Broken {
    let mut broken = Broken::new();
    for done in &evidence.done {
        let said = &done.operation.text;
        for reply in replies(evidence, done) {
            let asked: Vec<_> = calls(reply)
                .iter()
                .map(|call| (text(call, "name").to_owned(), call["arguments"]["text"] == **said))
                .collect();
            let wanted: Vec<_> =
                Plan::of(said).tools().iter().map(|name| ((*name).to_owned(), true)).collect();
            if Plan::of(said) != Plan::Loop && asked != wanted {
                broken.push(format!("{said:?}: {}", reply["function_calls"]));
            }
        }
    }
    broken
}

fn tool_calls_bounded(evidence: &Evidence) -> Broken {
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

fn entries<'a>(evidence: &'a Evidence, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    evidence.ledger.iter().filter(move |entry| entry["kind"] == kind)
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
