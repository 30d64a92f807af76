//! `check`: whether a server can start, and why not: configuration, address, database, secret key, model, embeddings.

use std::time::Duration;

use serde_json::{Value, json};

use super::Report;
use crate::app::startup::{CheckedStore, ReservedAddresses, check_server_store, describe_store};
use crate::app::{data_dir, models};
use crate::config::{Config, ConfigError, Database, unusable_certificate_file};
use crate::domain::seal::SealKeys;
use crate::domain::vector::Vector;
use crate::service::secret_key::{self, SecretKeyError};
use crate::store::integrity::{self, Orphans};

/// For the model to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of one part; the error says why it is unusable.
type CheckResult = Result<String, String>;

/// Checks each part; true if all are usable. The configuration was already read successfully.
/// `reads_rows`: also whether all rows refer to existing ones.
pub async fn check(config: &Config, reads_rows: bool) -> (Report, bool) {
    let (store, secret_key) = check_store(config).await;
    let integrity = if reads_rows { Some(check_integrity(config).await) } else { None };
    let mut parts: Vec<(String, CheckResult)> = vec![
        ("configuration".to_owned(), Ok(describe_configuration())),
        ("listen".to_owned(), check_listen(config)),
        ("store".to_owned(), store),
        ("secret_key".to_owned(), secret_key),
        ("model".to_owned(), models::check(config, PROBE_TIMEOUT).await),
        ("embeddings".to_owned(), check_embeddings(config).await),
    ];
    parts.extend(integrity.map(|result| ("integrity".to_owned(), result)));
    for (name, result) in models::check_connections(config, PROBE_TIMEOUT).await {
        parts.push((format!("connections.{name}"), result));
    }
    report(&parts)
}

/// The report of a configuration that cannot be read, so that no part can be checked.
pub fn invalid_configuration(error: ConfigError) -> Report {
    report(&[("configuration".to_owned(), Err(format!("{:#}", anyhow::Error::from(error))))]).0
}

fn report(parts: &[(String, CheckResult)]) -> (Report, bool) {
    let is_usable = parts.iter().all(|(_, result)| result.is_ok());
    let text = parts
        .iter()
        .map(|(part, result)| match result {
            Ok(text) => format!("{part}: {text}\n"),
            Err(text) => format!("{part}: NOT USABLE: {text}\n"),
        })
        .collect();
    let json = parts.iter().map(|(part, result)| {
        let (ok, detail) = match result {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        (part.clone(), json!({ "ok": ok, "detail": detail }))
    });
    (Report { text, json: Value::Object(json.collect()) }, is_usable)
}

/// A start does not fail for what it would warn about.
fn describe_configuration() -> String {
    unusable_certificate_file()
        .map_or_else(|| "read".to_owned(), |problem| format!("read; warning: {problem}"))
}

fn check_listen(config: &Config) -> CheckResult {
    let reserved = ReservedAddresses::bind(config).map_err(|error| format!("{error:#}"))?;
    drop(reserved);
    Ok(match config.operator.listen {
        Some(operator) => format!("{} and {operator} are free", config.listen),
        None => format!("{} is free", config.listen),
    })
}

/// The store, and the key of its secrets.
async fn check_store(config: &Config) -> (CheckResult, CheckResult) {
    let name = match describe_store(config) {
        Ok(name) => name,
        Err(error) => return (Err(format!("{error:#}")), check_key_without_store(config)),
    };
    let (text, db) = match check_server_store(config).await {
        Err(error) => return (Err(format!("{name}: {error:#}")), check_key_without_store(config)),
        Ok(CheckedStore::Missing) => {
            let text = format!("{name} is not there yet; `rejoinder serve` creates it");
            return (Ok(text), describe_key(config, secret_key::check_configured(config)));
        }
        Ok(CheckedStore::NeedsMigration(db)) => ("reached; `rejoinder serve` will migrate it", db),
        Ok(CheckedStore::Ready(db)) => ("reached", db),
    };
    let key = secret_key::check(config, &db).await;
    db.close().await;
    let other_owner = match config.database() {
        Database::Sqlite { data_dir } => data_dir::describe_other_owner(&data_dir),
        Database::Postgres { .. } => None,
    };
    let warning = other_owner.map_or_else(String::new, |text| format!("; warning: {text}"));
    (Ok(format!("{name} {text}{warning}")), describe_key(config, key))
}

/// Whether all rows refer to existing ones.
async fn check_integrity(config: &Config) -> CheckResult {
    let text = |error: anyhow::Error| format!("{error:#}");
    let db = super::open_ready_store(config).await.map_err(text)?;
    let find = async { integrity::find_orphans(db.acquire_read().await?.conn()).await };
    let found = find.await;
    db.close().await;
    let orphans = found.map_err(|error| text(error.into()))?;
    if orphans.is_empty() {
        return Ok("all rows refer to existing ones".to_owned());
    }
    let orphans = orphans.iter().map(|Orphans { table, parent, count }| {
        format!("{count} rows of {table} refer to no row of {parent}")
    });
    Err(orphans.collect::<Vec<_>>().join("; "))
}

/// The key of a store that cannot be opened may be any.
fn check_key_without_store(config: &Config) -> CheckResult {
    match secret_key::check_configured(config) {
        Ok(Some(_)) => Ok("read, and not compared with the store's".to_owned()),
        other => describe_key(config, other),
    }
}

fn describe_key(config: &Config, key: Result<Option<SealKeys>, SecretKeyError>) -> CheckResult {
    match (key, config.database()) {
        (Ok(Some(keys)), _) => {
            Ok(format!("read; new secrets are encrypted with the key {}", keys.current_id()))
        }
        (Ok(None), Database::Sqlite { .. }) => Ok("the first start creates it in the data folder".to_owned()),
        (Ok(None), Database::Postgres { .. }) => Ok(format!(
            "warning: secrets of tools and webhook endpoints cannot be stored: {}",
            SecretKeyError::NotConfigured
        )),
        (Err(error), _) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// Embeds one word, which also checks the model and costs almost nothing.
async fn check_embeddings(config: &Config) -> CheckResult {
    let Some(choice) = config.embeddings_choice() else {
        return Ok("none configured; documents are searched by their words".to_owned());
    };
    let host = choice.base_url.host_str().unwrap_or_default().to_owned();
    let embedder = models::embedder(config).map_err(|error| format!("{error:#}"))?;
    let answer = match embedder {
        Some(embedder) => embedder.embed(&["check"], PROBE_TIMEOUT).await,
        None => Ok(Vec::new()),
    };
    match answer {
        Ok(vectors) => {
            let dimension = vectors.first().map_or(0, Vector::dimension);
            Ok(format!("{host} reached, {} gives {dimension} dimensions", choice.model))
        }
        Err(error) => Err(format!("{host}, for {}: {error}", choice.model)),
    }
}
