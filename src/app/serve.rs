//! `serve`: runs a server until it is stopped.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::net::TcpListener;

use super::data_dir_lock::DataDirLock;
use super::{Server, ServerDependencies, counters, models, open_store, public_address};
use crate::config::{Config, Database, ModelChoice, current_executable, secret_from_env};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::ids::IdGenerator;
use crate::http;
use crate::lifecycle;
use crate::outbound::GuardedClient;
use crate::service::apply_workspace::ApplyContext;
use crate::service::knowledge::DocumentExtractor;
use crate::service::{demo, secret_key};
use crate::telemetry::{self, Metrics};

/// Runs a server until a signal.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::init_logs(config.log.format.is_json(io::stderr().is_terminal()), &config.log.filter)?;
    if let Err(error) = lifecycle::raise_open_file_limit() {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
    if let ModelChoice::Missing(text) = config.model_choice() {
        bail!(text);
    }
    let db = open_store(&config).await.context("the database cannot be opened")?;
    let _lock = match config.database() {
        Database::Sqlite { data_dir } => Some(DataDirLock::acquire(&data_dir)?),
        Database::Postgres { .. } => None,
    };
    if config.store.migrate {
        db.migrate().await?;
    } else {
        db.check_schema().await?;
    }
    let ids = Arc::new(IdGenerator::random());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let seal_key = secret_key::load_or_create(&config, &ids)?.map(Arc::new);
    let outbound = GuardedClient::new(config.outbound.allow_hosts.clone())?;
    let document_extractor = DocumentExtractor::new(current_executable()?);
    let context = ApplyContext {
        db: &db,
        clock: clock.as_ref(),
        ids: &ids,
        seal: seal_key.as_deref(),
        outbound: &outbound,
        allow_hosts: &config.outbound.allow_hosts,
        document_extractor: &document_extractor,
        folder: None,
        has_connection: &|name| models::has_connection(&config, name),
        secret: &secret_from_env,
    };
    let demo = demo::prepare(&context, &config).await?;

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = public_address(&config, listener.local_addr()?);
    // Printed before the first response, so that a client that got one can rely on the banner.
    let banner = demo::banner(&address, demo.as_ref(), &config.model_choice());
    io::stdout().write_all(banner.as_bytes())?;
    io::stdout().flush()?;
    let metrics = Metrics::install()?;
    counters::create(&metrics, &config);
    let metrics = Some(metrics);
    let deps = ServerDependencies { db, clock, ids, seal_key, document_extractor, metrics };
    Server::start(&config, deps, listener).await?.run_until_stopped().await
}

/// The `OpenAPI` document of both APIs, as JSON text.
pub fn openapi() -> anyhow::Result<String> {
    let mut text = http::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}
