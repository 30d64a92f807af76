//! `restored`: what must follow a restore of the database from a backup.

use std::fmt::Write;

use anyhow::Context;
use serde_json::{Value, json};

use super::keys::{is_valid, key_json};
use super::operator_keys::operator_key_json;
use super::{Report, open_ready_store};
use crate::app::startup::{describe_store, require_no_server};
use crate::config::Config;
use crate::domain::api_key::{ApiKey, OperatorKey};
use crate::domain::clock::{Clock, Micros, SystemClock};
use crate::domain::ids::IdGenerator;
use crate::service::restore::{self, RestoreResult};
use crate::service::{keys, operator_keys};

/// What [`restored`] does, for a person who has to agree.
pub fn describe_restored(config: &Config) -> anyhow::Result<String> {
    Ok(format!(
        "For a database that was restored from a backup: {}\n\
         - Event cursors from before the restore are no longer accepted; readers get the one to resume from.\n\
         - Events and ledger entries continue with numbers that were never used.\n\
         - Replies that were open at the backup fail and are refunded, because they may have been given since.\n\
         - Nothing is sent. API keys are listed for review.\n",
        describe_store(config)?
    ))
}

/// Makes a restored database ready for a server. Refuses while a server uses it.
pub async fn restored(config: &Config) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let _lock = require_no_server(config, &db).await?;
    let outcome = restore::finish(&db, &SystemClock, &IdGenerator::random()).await?;
    if db.is_shared() {
        // Nothing keeps one from starting there.
        require_no_server(config, &db).await.context("run this command again")?;
    }
    let now = SystemClock.now();
    let mut keys_by_workspace = keys::list(&db, None).await?;
    keys_by_workspace.retain(|(_, key)| is_valid(key, now));
    let mut operator_keys = operator_keys::list(&db).await?;
    operator_keys.retain(|key| key.is_valid(now));
    db.close().await;
    let mut report = describe(outcome, &keys_by_workspace);
    add_operator_keys(&mut report, &operator_keys);
    Ok(report)
}

fn add_operator_keys(report: &mut Report, keys: &[OperatorKey]) {
    if !keys.is_empty() {
        report.text.push_str("\nThese keys of the operator's API are valid, too:\n");
    }
    for key in keys {
        let used = time(key.last_used_at).unwrap_or_else(|| "never".to_owned());
        let _ = writeln!(
            report.text,
            "rejoinder operator keys revoke {}  # {:?}, {}…, last used before the backup: {used}",
            key.id, key.name, key.prefix
        );
    }
    report.json["valid_operator_keys"] = keys.iter().map(operator_key_json).collect();
}

fn describe(outcome: RestoreResult, keys_by_workspace: &[(String, ApiKey)]) -> Report {
    let RestoreResult { newest_event, epoch, failed_turns, open_deliveries } = outcome;
    let newest = time(newest_event).unwrap_or_else(|| "none".to_owned());
    let mut text = format!(
        "The newest event of the backup: {newest}\n\
         Replies that were open, failed with database_restored and refunded: {failed_turns}\n\
         Webhook deliveries that are sent when a server starts, perhaps once more, with the same webhook-id: \
         {open_deliveries}\n\
         Event cursors begin with {epoch} from now on.\n"
    );
    if !keys_by_workspace.is_empty() {
        text.push_str(
            "\nThese API keys are valid. Revoke again those that were revoked after the backup; keys that were created \
             since no longer exist.\n",
        );
    }
    for (workspace, key) in keys_by_workspace {
        let used = time(key.last_used_at).unwrap_or_else(|| "never".to_owned());
        // The name is quoted, so that no line break in it ends the comment. Writing to a String does not fail.
        let _ = writeln!(
            text,
            "rejoinder keys revoke {}  # {workspace}, {:?}, {}…, last used before the backup: {used}",
            key.id, key.name, key.prefix
        );
    }
    let valid_keys: Vec<Value> =
        keys_by_workspace.iter().map(|(workspace, key)| key_json(workspace, key)).collect();
    let json = json!({
        "newest_event_at": time(newest_event),
        "epoch": epoch,
        "failed_turns": failed_turns,
        "open_deliveries": open_deliveries,
        "valid_keys": valid_keys,
    });
    Report { text, json }
}

fn time(at: Option<Micros>) -> Option<String> {
    at.map(|at| at.to_string())
}
