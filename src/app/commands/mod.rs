//! The subcommands except `serve`. Each returns a [`Report`] that the command line prints.

mod check;
mod credit;
mod healthcheck;
mod keys;
mod operator_keys;
mod read_document;
mod reencrypt;
mod restored;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

pub use check::{check, invalid_configuration};
pub use credit::{credit, generate_reference};
pub use healthcheck::healthcheck;
pub use keys::{create_key, list_keys, revoke_key};
pub use operator_keys::{create_operator_key, list_operator_keys, revoke_operator_key};
pub use read_document::read_document;
pub use reencrypt::reencrypt;
pub use restored::{describe_restored, restored};

pub use crate::domain::account::Scope;
pub use crate::domain::ids::{KeyId, OperatorKeyId};
pub use crate::domain::knowledge::{Charset, Format};
pub use crate::domain::money::Money;
pub use crate::service::apply_workspace::ApplyStep;
pub use crate::service::keys::CreateKey;

use super::models;
use super::startup::{IfMissing, describe_store, open_store, require_no_server};
use crate::config::{Config, current_executable, secret_from_env};
use crate::domain::clock::SystemClock;
use crate::domain::ids::IdGenerator;
use crate::outbound::GuardedClient;
use crate::service::apply_workspace::{self, ApplyContext, ApplyResult, Mode};
use crate::service::knowledge::DocumentExtractor;
use crate::service::secret_key;
use crate::store::{Db, Schema};

/// The result of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// For a person; one or more lines, each terminated.
    pub text: String,
    /// For scripts.
    pub json: Value,
}

/// A step of a command that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Migrate,
    Apply(ApplyStep),
}

/// Creates the embedded database if it does not exist, and migrates the database to this version.
/// `accepts_new_key` records the current secret key as that of the database.
pub async fn migrate(
    config: &Config,
    accepts_new_key: bool,
    progress: &(dyn Fn(Step) + Sync),
) -> anyhow::Result<Report> {
    announce_store(config)?;
    let db = open_store(config, IfMissing::Create).await?;
    let schema = db.schema().await?;
    let has_processes = matches!(schema, Schema::Ready | Schema::Outdated);
    let _lock = if accepts_new_key && has_processes { require_no_server(config, &db).await? } else { None };
    let has_key = config.read_secret_keys()?.is_some();
    if schema == Schema::Outdated && !accepts_new_key {
        secret_key::refuse_former_secrets(&db).await?;
    }
    progress(Step::Migrate);
    db.migrate().await.context("the database cannot be migrated")?;
    let ids = IdGenerator::random();
    if accepts_new_key {
        secret_key::accept(config, &db, &ids).await?;
    } else if !db.is_shared() || has_key {
        // The key file belongs to a new database. A job that migrates PostgreSQL does not need the key, but may not have a wrong one.
        let loaded = secret_key::load_or_create(config, &db, &ids).await;
        if schema == Schema::Ready {
            loaded?
        } else {
            loaded.context("the database was migrated, but")?
        };
    }
    db.close().await;
    let mut text = if schema == Schema::Ready {
        "The database is at this version; nothing was to be migrated.\n".to_owned()
    } else {
        "The database was migrated to this version.\n".to_owned()
    };
    if accepts_new_key {
        text.push_str("The secret key was accepted. Apply the workspace files again, and rotate the secrets of webhook endpoints that \
             the API created.\n");
    }
    Ok(Report { text, json: json!({ "migrated": schema != Schema::Ready }) })
}

/// Applies a workspace file to the database.
pub async fn apply(
    config: &Config,
    file: &Path,
    is_dry_run: bool,
    progress: &(dyn Fn(Step) + Sync),
) -> anyhow::Result<Report> {
    let is_stdin = file == Path::new("-");
    let text = if is_stdin { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(file) };
    let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
    let db = open_ready_store(config).await?;
    let ids = IdGenerator::random();
    let seal = secret_key::load_or_create(config, &db, &ids).await?;
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
        // The documents of standard input are found from the working directory.
        folder: file.parent(),
        has_connection: &|name| models::has_connection(config, name),
        secret: &secret_from_env,
        progress: &|step| progress(Step::Apply(step)),
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
    // A dry run invents the ids of new entries.
    let ids = if is_dry_run { &[][..] } else { &applied.ids };
    if !ids.is_empty() {
        text.push_str("ids:\n");
    }
    for id in ids {
        let _ = writeln!(text, "  {id}");
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
        "ids": ids,
        "changes": applied.changes,
        "warnings": applied.warnings,
        "secrets": secrets,
    });
    Report { text, json }
}

/// The configured database, ready for use.
async fn open_ready_store(config: &Config) -> anyhow::Result<Db> {
    announce_store(config)?;
    let db = open_store(config, IfMissing::Refuse).await?;
    db.check_schema().await?;
    Ok(db)
}

/// Says which store a command uses, because that depends on the folder and the environment.
fn announce_store(config: &Config) -> anyhow::Result<()> {
    // A closed stream is ignored.
    let _ = writeln!(std::io::stderr(), "store: {}", describe_store(config)?);
    Ok(())
}
