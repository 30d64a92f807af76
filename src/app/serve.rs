//! `serve`: runs a server until it is stopped.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::bail;
use tokio::runtime::Handle;

use super::startup::{ReservedAddresses, describe_store, open_server_store};
use super::{Server, ServerDependencies, counters, models, public_address, traces};
use crate::config::{Config, ModelChoice, current_executable, secret_from_env, unusable_certificate_file};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::ids::IdGenerator;
use crate::http;
use crate::lifecycle::{self, Signals};
use crate::outbound::GuardedClient;
use crate::service::apply_workspace::ApplyContext;
use crate::service::demo;
use crate::service::knowledge::DocumentExtractor;
use crate::service::secret_key::{self, SecretKeyError};
use crate::telemetry::{self, COMMIT, Metrics, VERSION};

/// Runs a server until a signal.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::init_logs(config.log.format.is_json(io::stderr().is_terminal()), &config.log.filter)?;
    if let Err(error) = lifecycle::raise_open_file_limit() {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
    if let ModelChoice::Missing(text) = config.model_choice() {
        bail!(text);
    }
    // Before a database is created, which needs the same key for all of its life.
    config.read_secret_keys()?;
    let reserved = ReservedAddresses::bind(&config)?;
    let store = describe_store(&config)?;
    let (db, _lock) = open_server_store(&config).await?;
    let ids = Arc::new(IdGenerator::random());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let seal_keys = secret_key::load_or_create(&config, &db, &ids).await?.map(Arc::new);
    let outbound = GuardedClient::new(config.outbound.allow_hosts.clone())?;
    let document_extractor = DocumentExtractor::new(current_executable()?);
    let context = ApplyContext {
        db: &db,
        clock: clock.as_ref(),
        ids: &ids,
        seal: seal_keys.as_deref(),
        outbound: &outbound,
        allow_hosts: &config.outbound.allow_hosts,
        document_extractor: &document_extractor,
        folder: None,
        has_connection: &|name| models::has_connection(&config, name),
        secret: &secret_from_env,
        progress: &|_| {},
    };
    let demo = demo::prepare(&context, &config).await?;

    // From the first response on, a signal stops the server in order.
    let signals = Signals::catch()?;
    let listeners = reserved.listen()?;
    let listening_on = listeners.public.local_addr()?;
    let address = public_address(&config, listening_on);
    announce(&config, &store, listening_on, &address);
    warn_about_exposure(&config, listening_on.ip(), demo::is_open(&db).await?);
    warn_about_gaps(&config, seal_keys.is_some());
    // Printed before the first response, so that a client that got one can rely on the banner.
    let contents = demo::contents(&db, demo.as_ref()).await?;
    let banner = demo::banner(&address, contents, &config.model_choice());
    io::stdout().write_all(banner.as_bytes())?;
    io::stdout().flush()?;
    let metrics = Metrics::install()?;
    counters::create(&metrics, &config);
    let metrics = Some(metrics);
    let deps = ServerDependencies { db, clock, ids, seal_keys, document_extractor, metrics };
    traces::start(&config);
    let stopped = Server::start(&config, deps, listeners).await?.run_until_stopped(signals).await;
    telemetry::traces::flush().await;
    tracing::info!("stopped");
    stopped
}

/// One line with everything that an operator asks for first.
fn announce(config: &Config, store: &str, listening_on: SocketAddr, url: &str) {
    tracing::info!(
        version = VERSION,
        commit = COMMIT,
        store,
        model = models::describe(&config.model_choice()),
        address = %listening_on,
        operator = config.operator.listen.map(tracing::field::display),
        url,
        workers = Handle::current().metrics().num_workers(),
        "starting"
    );
}

/// Warns about settings that are meant for a server that only this machine reaches.
fn warn_about_exposure(config: &Config, ip: IpAddr, has_demo: bool) {
    let is_behind_proxy = !config.limits.trusted_proxies.is_empty();
    if ip.is_loopback() && !is_behind_proxy {
        return;
    }
    if !config.limits.enabled {
        tracing::warn!(
            "other machines can reach this server, and its rate limits are off (limits.enabled): \
             anyone can use up the balance of a workspace"
        );
    }
    if has_demo {
        tracing::warn!(
            "other machines can reach this server, and it has the demo workspace: anyone can talk to it on your model. \
             REJOINDER_DEMO=false prevents it in an empty database only; later, end its conversations (docs/operations.md)"
        );
    }
    if config.public_url.is_none() && !ip.is_loopback() {
        tracing::warn!(
            "public_url (REJOINDER_PUBLIC_URL) is not set: links that the API returns use the address of `listen`"
        );
    }
}

/// Warns about what is not configured, or cannot be used, and will be missed later.
fn warn_about_gaps(config: &Config, has_secret_key: bool) {
    if matches!(config.model_choice(), ModelChoice::Offline { is_explicit: false })
        && !config.is_demo_enabled()
    {
        tracing::warn!(
            "no model is configured, so the built-in demonstration answers: set OPENAI_API_KEY, or OPENAI_BASE_URL and \
             OPENAI_MODEL (REJOINDER_MODEL__KIND=offline if it is meant)"
        );
    }
    if let Some(problem) = unusable_certificate_file() {
        tracing::warn!("{problem}");
    }
    if !has_secret_key {
        tracing::warn!(
            "secrets of tools and webhook endpoints cannot be stored: {}",
            SecretKeyError::NotConfigured
        );
    }
}

/// The `OpenAPI` document of both APIs, as JSON text.
pub fn openapi() -> anyhow::Result<String> {
    let mut text = http::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}
