//! The subcommands except `serve`. Each returns a [`Report`] that the command line prints.

mod check;
mod credit;
mod keys;
mod read_document;

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

pub use check::check;
pub use credit::{credit, generate_reference};
pub use keys::{create_key, list_keys, revoke_key};
pub use read_document::read_document;

pub use crate::domain::account::Scope;
pub use crate::domain::ids::KeyId;
pub use crate::domain::knowledge::{Charset, Format};
pub use crate::domain::money::Money;
pub use crate::service::keys::CreateKey;

use super::{models, open_store};
use crate::config::{Config, Database, current_executable, secret_from_env};
use crate::domain::clock::SystemClock;
use crate::domain::ids::IdGenerator;
use crate::outbound::GuardedClient;
use crate::service::apply_workspace::{self, ApplyContext, ApplyResult, Mode};
use crate::service::knowledge::DocumentExtractor;
use crate::service::secret_key;
use crate::store::Db;

/// The result of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// For a person; one or more lines, each terminated.
    pub text: String,
    /// For scripts.
    pub json: Value,
}

/// Migrates the database to this version.
pub async fn migrate(config: &Config) -> anyhow::Result<Report> {
    let db = open_store(config).await?;
    db.migrate().await.context("the database cannot be migrated")?;
    db.close().await;
    Ok(Report { text: "The database is at this version.\n".to_owned(), json: json!({ "migrated": true }) })
}

/// Applies a workspace file to the database.
pub async fn apply(config: &Config, file: &Path, is_dry_run: bool) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let db = open_ready_store(config).await?;
    let ids = IdGenerator::random();
    let seal = secret_key::load_or_create(config, &ids)?;
    let outbound = GuardedClient::new(config.outbound.allow_hosts.clone())?;
    let document_extractor = DocumentExtractor::new(current_executable()?);
    let context = ApplyContext {
        db: &db,
        clock: &SystemClock,
        ids: &ids,
        seal: seal.as_ref(),
        outbound: &outbound,
        allow_hosts: &config.outbound.allow_hosts,
        document_extractor: &document_extractor,
        folder: file.parent(),
        has_connection: &|name| models::has_connection(config, name),
        secret: &secret_from_env,
    };
    let mode = if is_dry_run { Mode::DryRun } else { Mode::Apply };
    let applied = apply_workspace::apply(&context, &text, mode)
        .await
        .with_context(|| format!("{} was not applied", file.display()))?;
    db.close().await;
    Ok(describe(&applied, is_dry_run))
}

fn describe(applied: &ApplyResult, is_dry_run: bool) -> Report {
    let mut text = String::new();
    for change in &applied.changes {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{change}");
    }
    if text.is_empty() {
        text = format!("workspace {}: no changes\n", applied.slug);
    } else if is_dry_run {
        text.push_str("Nothing was changed: this was a dry run.\n");
    }
    for warning in &applied.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    // A dry run discards the secrets that it generates.
    let secrets = if is_dry_run { &[][..] } else { &applied.secrets };
    for new in secrets {
        let (slug, secret) = (&new.endpoint, new.secret.expose_secret());
        let _ = writeln!(text, "webhook endpoint {slug}: its secret, shown this once, is {secret}");
    }
    let secrets: Map<String, Value> =
        secrets.iter().map(|new| (new.endpoint.clone(), new.secret.expose_secret().into())).collect();
    let json = json!({
        "workspace": applied.slug,
        "dry_run": is_dry_run,
        "changes": applied.changes,
        "warnings": applied.warnings,
        "secrets": secrets,
    });
    Report { text, json }
}

/// The configured database, ready for use. A missing embedded database is created.
async fn open_ready_store(config: &Config) -> anyhow::Result<Db> {
    let is_new = match config.database() {
        Database::Sqlite { data_dir } => !data_dir.join(super::SQLITE_FILE).exists(),
        Database::Postgres { .. } => false,
    };
    let db = open_store(config).await.context("the database cannot be opened")?;
    if is_new && config.store.migrate {
        db.migrate().await?;
    } else {
        db.check_schema().await?;
    }
    Ok(db)
}
