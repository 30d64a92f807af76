//! `reencrypt`: encrypts stored secrets with the current key, so that earlier keys can be removed.

use std::fmt::Write as _;

use anyhow::ensure;
use serde_json::json;

use super::{Report, open_ready_store};
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::domain::ids::IdGenerator;
use crate::service::reencrypt;
use crate::service::secret_key::{self, SecretKeyError};

/// Encrypts all secrets with the current key. It may run beside servers, and be repeated.
pub async fn reencrypt(config: &Config) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let ids = IdGenerator::random();
    let keys = secret_key::load_or_create(config, &db, &ids).await?;
    let keys = keys.ok_or(SecretKeyError::NotConfigured)?;
    let result = reencrypt::reencrypt(&db, &keys, &SystemClock, &ids).await?;
    db.close().await;
    let key = keys.current_id();
    ensure!(
        result.unparsable_rows == 0,
        "{} values were encrypted with the key {key}, but rows with secrets of earlier keys cannot be parsed: {}. The log names them. \
         Keep the earlier keys, and run this with the newest version that has used the database",
        result.values,
        result.unparsable_rows
    );
    ensure!(
        result.is_complete,
        "{} values were encrypted with the key {key}, but another process still encrypts with another one: restart all processes with \
         {key} as the first key, and run this again",
        result.values
    );
    let mut text = format!("{} values were encrypted with the key {key}.\n", result.values);
    for (reason, count) in &result.unreadable {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{count} values stay as they are: {reason}");
    }
    if result.unreadable.is_empty() {
        text.push_str("No value has an earlier key.\n");
    } else {
        text.push_str(
            "Apply the workspace files again, and rotate the secrets of webhook endpoints that the API created. No other value has an \
             earlier key.\n",
        );
    }
    let json = json!({ "key": key.as_str(), "values": result.values, "unreadable": result.unreadable });
    Ok(Report { text, json })
}
