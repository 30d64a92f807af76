//! `check`: whether configuration, database, model and embeddings are usable, and why not.

use std::time::Duration;

use serde_json::{Value, json};

use super::Report;
use crate::app::{SQLITE_FILE, models, open_store};
use crate::config::{Config, Database};
use crate::domain::vector::Vector;

/// For the model to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of one part; the error says why it is unusable.
type CheckResult = Result<String, String>;

/// Checks each part; true if all are usable. The configuration was already read successfully.
pub async fn check(config: &Config) -> (Report, bool) {
    let parts: [(&str, CheckResult); 4] = [
        ("configuration", Ok("read".to_owned())),
        ("store", check_store(config).await),
        ("model", models::check(config, PROBE_TIMEOUT).await),
        ("embeddings", check_embeddings(config).await),
    ];
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
        ((*part).to_owned(), json!({ "ok": ok, "detail": detail }))
    });
    (Report { text, json: Value::Object(json.collect()) }, is_usable)
}

async fn check_store(config: &Config) -> CheckResult {
    let name = match config.database() {
        Database::Sqlite { data_dir } => {
            let file = data_dir.join(SQLITE_FILE);
            if !file.exists() {
                return Ok(format!("{} is not there yet; the first start makes it", file.display()));
            }
            file.display().to_string()
        }
        Database::Postgres { .. } => "PostgreSQL".to_owned(),
    };
    let reached = async {
        let db = open_store(config).await?;
        db.check_schema().await?;
        db.close().await;
        anyhow::Ok(())
    };
    reached.await.map(|()| format!("{name} reached")).map_err(|error| format!("{name}: {error:#}"))
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
