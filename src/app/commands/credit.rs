//! `credit`: money for a workspace, once for each reference.

use serde_json::json;

use super::{Money, Report, open_prepared};
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::domain::ids::Ids;
use crate::service::credit::{self, Credited};

/// A reference that nobody has used, to be shown before it is used.
pub fn make_reference() -> String {
    format!("credit-{}", Ids::random().capability().simple())
}

/// Gives credit, or takes it where the amount is negative.
pub async fn credit(
    config: &Config,
    workspace: &str,
    amount: Money,
    reference: &str,
) -> anyhow::Result<Report> {
    let db = open_prepared(config).await?;
    let credited = credit::credit(&db, &SystemClock, &Ids::random(), workspace, amount, reference).await?;
    db.close().await;
    let (text, balance, counted) = match credited {
        Credited::Now(entry) => {
            let balance = entry.balance_after;
            (format!("{workspace}: {amount} credited, balance {balance}\n"), balance, true)
        }
        Credited::Before { balance } => {
            let text = format!(
                "{workspace}: {reference} had counted already; nothing credited, balance {balance}\n"
            );
            (text, balance, false)
        }
    };
    let json =
        json!({ "workspace": workspace, "reference": reference, "credited": counted, "balance": balance });
    Ok(Report { text, json })
}
