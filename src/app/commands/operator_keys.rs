//! `operator keys create`, `operator keys list`, `operator keys revoke`.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::{OperatorKeyId, Report, open_ready_store};
use crate::config::Config;
use crate::domain::api_key::OperatorKey;
use crate::domain::clock::{Clock, Micros, SystemClock};
use crate::domain::ids::IdGenerator;
use crate::service::operator_keys;

/// Creates a key of the operator's API; only this report ever shows it.
pub async fn create_operator_key(
    config: &Config,
    name: &str,
    expires_in: Option<Duration>,
) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let (secret, key) =
        operator_keys::create(&db, &SystemClock, &IdGenerator::random(), name, expires_in).await?;
    db.close().await;
    let mut json = operator_key_json(&key);
    json["secret"] = secret.expose().into();
    Ok(Report { text: format!("{}\n", secret.expose()), json })
}

/// Lists the keys of the operator's API.
pub async fn list_operator_keys(config: &Config) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let keys = operator_keys::list(&db).await?;
    db.close().await;
    let now = SystemClock.now();
    let mut text = String::new();
    for key in &keys {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}  {}  {}…  {}", key.id, state(key, now), key.prefix, key.name);
    }
    Ok(Report { text, json: keys.iter().map(operator_key_json).collect() })
}

/// Revokes a key of the operator's API.
pub async fn revoke_operator_key(config: &Config, id: OperatorKeyId) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    operator_keys::revoke(&db, &SystemClock, &IdGenerator::random(), id).await?;
    db.close().await;
    Ok(Report {
        text: format!("{id} is revoked; every process rejects it within five seconds.\n"),
        json: json!({ "id": id, "revoked": true }),
    })
}

fn state(key: &OperatorKey, now: Micros) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.is_valid(now) {
        "valid"
    } else {
        "expired"
    }
}

pub(super) fn operator_key_json(key: &OperatorKey) -> Value {
    let time = |at: Option<Micros>| at.map(|at| at.to_string());
    json!({
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "created_at": key.created_at.to_string(),
        "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at),
        "last_used_at": time(key.last_used_at),
    })
}
