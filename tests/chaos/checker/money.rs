//! Invariants M1 to M5b: a reply costs its price once, a turn without a reply is refunded, the balance is never negative, and the
//! ledger sums up to it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Violations, text};
use crate::evidence::{Evidence, micros};
use crate::ledger_monitor::BalanceReading;

pub(super) fn spent_is_price_of_replies(evidence: &Evidence) -> Violations {
    let topped_up: i64 = entries(evidence, "top_up").map(|entry| micros(&entry["amount"])).sum();
    let completed = evidence.turns.values().filter(|turn| turn["state"] == "completed");
    let price: i64 = completed.map(|turn| micros(&turn["price"])).sum();
    let spent = topped_up - evidence.balance;
    if spent == price { Violations::new() } else { vec![format!("spent {spent}, replies are worth {price}")] }
}

pub(super) fn never_below_zero(evidence: &Evidence) -> Violations {
    let below = evidence.ledger.iter().filter(|entry| micros(&entry["balance_after"]) < 0);
    below.map(Value::to_string).collect()
}

pub(super) fn each_charge_has_reply_or_refund(evidence: &Evidence) -> Violations {
    let mut sums = HashMap::<&str, (usize, usize, i64)>::new();
    for entry in &evidence.ledger {
        let Some(turn) = entry["turn_id"].as_str() else { continue };
        let (charged, refunded, sum) = sums.entry(turn).or_default();
        *charged += usize::from(entry["kind"] == "charge");
        *refunded += usize::from(entry["kind"] == "refund");
        *sum += micros(&entry["amount"]);
    }
    let is_right = |turn: &Value, &(charged, refunded, sum): &(usize, usize, i64)| {
        let is_completed = turn["state"] == "completed";
        let is_paid = sum == if is_completed { -micros(&turn["price"]) } else { 0 };
        charged == 1 && refunded == usize::from(!is_completed) && is_paid
    };
    let wrong = sums.iter().filter(|(turn, found)| !is_right(&evidence.turns[**turn], found));
    wrong
        .map(|(turn, found)| {
            format!("{turn} {}: (charges, refunds, sum) {found:?}", evidence.turns[*turn]["state"])
        })
        .collect()
}

pub(super) fn test_is_free(evidence: &Evidence) -> Violations {
    let is_test = |turn: &&Value| evidence.conversations[text(turn, "conversation_id")]["type"] == "test";
    let tests = evidence.turns.values().filter(is_test);
    let charged: HashSet<_> = evidence.ledger.iter().filter_map(|entry| entry["turn_id"].as_str()).collect();
    let paid = tests.filter(|turn| charged.contains(text(turn, "id")) || micros(&turn["price"]) != 0);
    paid.map(|turn| text(turn, "id").to_owned()).collect()
}

pub(super) fn ledger_sums_up(evidence: &Evidence) -> Violations {
    let mut broken = Violations::new();
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

pub(super) fn in_step_at_each_read(evidence: &Evidence) -> Violations {
    let observed_ledger = &evidence.observed_ledger;
    let balance_after = |number: usize| match number.checked_sub(1) {
        Some(nth) => micros(&observed_ledger.entries[nth]["balance_after"]),
        None => 0,
    };
    let is_in_step = |reading: &&BalanceReading| {
        (reading.before..=reading.after).any(|number| balance_after(number) == reading.balance)
    };
    let wrong = observed_ledger.readings.iter().filter(|reading| !is_in_step(reading));
    let mut broken: Violations = wrong.map(|reading| format!("{reading:?}")).collect();
    broken.extend(observed_ledger.rewritten.iter().map(|entry| format!("now {entry}")));
    if !evidence.ledger.starts_with(&observed_ledger.entries) {
        broken.push("the ledger does not begin with what was read of it".to_owned());
    }
    broken
}

fn entries<'a>(evidence: &'a Evidence, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    evidence.ledger.iter().filter(move |entry| entry["kind"] == kind)
}
