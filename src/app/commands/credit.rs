//! `credit`: adds money to the balance of a workspace, once for each reference.

use std::sync::Arc;

use serde_json::json;

use super::{Money, Report, open_ready_store};
use crate::config::Config;
use crate::domain::audit::Actor;
use crate::domain::clock::SystemClock;
use crate::domain::ids::IdGenerator;
use crate::service::credit::{self, CreditOutcome};

/// A new reference, shown before it is used.
pub fn generate_reference() -> String {
    format!("credit-{}", IdGenerator::random().uuid_v4().simple())
}

/// Gives credit, or takes it back if the amount is negative.
pub async fn credit(
    config: &Config,
    workspace: &str,
    amount: Money,
    reference: &str,
) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let actor = Arc::new(Actor::command("rejoinder credit"));
    let ids = IdGenerator::random();
    let credited = credit::credit(&db, &SystemClock, &ids, workspace, amount, reference, actor).await?;
    db.close().await;
    let (text, balance, is_new) = match credited {
        CreditOutcome::Granted(entry) => {
            let balance = entry.balance_after;
            let verb = if amount < Money::ZERO { "taken back" } else { "credited" };
            let amount = Money(amount.0.saturating_abs());
            (format!("{workspace}: {amount} {verb}, balance {balance}\n"), balance, true)
        }
        CreditOutcome::AlreadyGranted { balance } => {
            let text = format!(
                "{workspace}: {reference} had counted already; nothing credited, balance {balance}\n"
            );
            (text, balance, false)
        }
    };
    let json =
        json!({ "workspace": workspace, "reference": reference, "credited": is_new, "balance": balance });
    Ok(Report { text, json })
}
