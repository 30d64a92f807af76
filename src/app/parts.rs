//! Builds the parts of a server from its configuration and dependencies.

use std::sync::Arc;

use super::{ServerDependencies, models, settings};
use crate::config::Config;
use crate::lifecycle::Tasks;
use crate::lifecycle::lease::LeaseStatus;
use crate::model::embeddings::Embedder;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::service::Services;
use crate::service::deliver_event::WebhookSender;
use crate::service::embed_documents::DocumentEmbedder;
use crate::service::readiness::ReadinessCheck;
use crate::service::run_turn::Engine;
use crate::service::state::{
    Followers, HistoryCache, KeyCache, ModelCalls, TurnStreams, VersionCache, Waiters, WorkspaceLimiter,
};
use crate::tools::mcp::Sessions;
use crate::tools::{Adapters, CalendarReaders, QueryEmbedder, Searcher};
use crate::worker::WorkerDependencies;
use crate::writer::Writer;

/// The services, and the dependencies of the worker.
pub(super) fn assemble(
    config: &Config,
    deps: &ServerDependencies,
    writer: Writer,
    tasks: &Tasks,
    lease: LeaseStatus,
) -> anyhow::Result<(Services, WorkerDependencies)> {
    let allow_hosts = Arc::new(config.outbound.allow_hosts.clone());
    let outbound = GuardedClient::new(AllowHosts::clone(&allow_hosts))?;
    let embedder = models::embedder(config)?;
    let tools = adapters(config, deps, outbound.clone(), embedder.clone());
    let readiness = ReadinessCheck::new(lease.clone());
    let services = services(config, deps, writer, tasks, (allow_hosts, tools, readiness));
    let worker_deps = WorkerDependencies {
        embeddings: embedder.map(|embedder| embeddings(config, embedder)),
        sender: sender(config, deps, outbound),
        engine: Arc::new(engine(config, deps, services.clone(), lease)?),
    };
    Ok((services, worker_deps))
}

fn adapters(
    config: &Config,
    deps: &ServerDependencies,
    outbound: GuardedClient,
    embedder: Option<Embedder>,
) -> Adapters {
    let timeout = config.embeddings.query_timeout;
    let embedder = embedder.map(|embedder| QueryEmbedder::new(embedder, timeout));
    Adapters {
        db: deps.db.clone(),
        searcher: Searcher::new(deps.db.clone(), embedder),
        outbound,
        mcp: Sessions::default(),
        seal_keys: deps.seal_keys.clone(),
        clock: Arc::clone(&deps.clock),
        ids: Arc::clone(&deps.ids),
        calendar_readers: CalendarReaders::default(),
    }
}

fn embeddings(config: &Config, embedder: Embedder) -> DocumentEmbedder {
    DocumentEmbedder { embedder, batch: config.embeddings.batch, timeout: config.embeddings.timeout }
}

fn services(
    config: &Config,
    deps: &ServerDependencies,
    writer: Writer,
    tasks: &Tasks,
    (allow_hosts, tools, readiness): (Arc<AllowHosts>, Adapters, ReadinessCheck),
) -> Services {
    Services {
        db: deps.db.clone(),
        readiness,
        document_extractor: deps.document_extractor.clone(),
        document_write_limiter: WorkspaceLimiter::document_writes(),
        writer,
        clock: Arc::clone(&deps.clock),
        ids: Arc::clone(&deps.ids),
        versions: VersionCache::default(),
        histories: HistoryCache::new(config.model.history_messages),
        waiters: Waiters::new(config.widget.max_waiting),
        turn_streams: TurnStreams::default(),
        followers: Followers::new(settings::followers(config), tasks.soft_stop()),
        model_calls: ModelCalls::default(),
        key_cache: KeyCache::default(),
        operator_key_cache: KeyCache::default(),
        tools,
        test_call_limiter: WorkspaceLimiter::test_calls(),
        caldav_limiter: WorkspaceLimiter::caldav_requests(),
        model_connections: Arc::new(models::connections(config)),
        seal_keys: deps.seal_keys.clone(),
        allow_hosts,
        documents_changed: Arc::default(),
        erasures_changed: Arc::default(),
        widget_deadline: config.widget.deadline,
        attempt_timeout: config.turn.deadline,
        hard_stop: tasks.hard_stop().child_token(),
    }
}

fn engine(
    config: &Config,
    deps: &ServerDependencies,
    services: Services,
    lease: LeaseStatus,
) -> anyhow::Result<Engine> {
    let (models, default_model) = models::build(config, &deps.clock)?;
    let settings = settings::engine(config, default_model)?;
    Ok(Engine::new(services, models, settings, lease))
}

fn sender(config: &Config, deps: &ServerDependencies, outbound: GuardedClient) -> WebhookSender {
    WebhookSender {
        outbound,
        seal_keys: deps.seal_keys.clone(),
        clock: Arc::clone(&deps.clock),
        ids: Arc::clone(&deps.ids),
        timeout: config.webhooks.timeout,
    }
}
