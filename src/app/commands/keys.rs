//! `keys create`, `keys list`, `keys revoke`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{CreateKey, KeyId, Report, open_ready_store};
use crate::config::Config;
use crate::domain::api_key::ApiKey;
use crate::domain::clock::{Clock, Micros, SystemClock};
use crate::domain::ids::IdGenerator;
use crate::service::keys;

/// Creates a key; only this report ever shows it.
pub async fn create_key(config: &Config, request: CreateKey) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let workspace = request.workspace.clone();
    let (secret, key) = keys::create(&db, &SystemClock, &IdGenerator::random(), request).await?;
    db.close().await;
    let mut json = key_json(&workspace, &key);
    json["secret"] = secret.expose().into();
    Ok(Report { text: format!("{}\n", secret.expose()), json })
}

/// Lists the keys of a workspace by its slug, or of all workspaces.
pub async fn list_keys(config: &Config, workspace: Option<&str>) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    let keys_by_workspace = keys::list(&db, workspace).await?;
    db.close().await;
    let now = SystemClock.now();
    let mut text = String::new();
    for (workspace, key) in &keys_by_workspace {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{}  {}  {workspace}  {}…  {}  {}",
            key.id,
            state(key, now),
            key.prefix,
            scopes.join(","),
            key.name,
        );
    }
    let json = keys_by_workspace.iter().map(|(workspace, key)| key_json(workspace, key)).collect();
    Ok(Report { text, json })
}

/// Revokes a key.
pub async fn revoke_key(config: &Config, id: KeyId) -> anyhow::Result<Report> {
    let db = open_ready_store(config).await?;
    keys::revoke(&db, &SystemClock, &IdGenerator::random(), id).await?;
    db.close().await;
    Ok(Report {
        text: format!("{id} is revoked; every process rejects it within five seconds.\n"),
        json: json!({ "id": id, "revoked": true }),
    })
}

fn state(key: &ApiKey, now: Micros) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if is_valid(key, now) {
        "valid"
    } else {
        "expired"
    }
}

pub(super) fn is_valid(key: &ApiKey, now: Micros) -> bool {
    key.is_valid(now)
}

pub(super) fn key_json(workspace: &str, key: &ApiKey) -> Value {
    let time = |at: Option<Micros>| at.map(|at| at.to_string());
    json!({
        "id": key.id,
        "workspace": workspace,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "created_at": key.created_at.to_string(),
        "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at),
        "last_used_at": time(key.last_used_at),
    })
}
