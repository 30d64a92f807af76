//! The parts that a server is put together from, and how they hold on to each other.

use std::sync::Arc;

use super::{Foundation, models, settings};
use crate::config::Config;
use crate::lifecycle::Tasks;
use crate::model::embeddings::Embedder;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::service::Services;
use crate::service::authenticate::Keys;
use crate::service::deliver_event::Sender;
use crate::service::embed_documents::Embeddings;
use crate::service::follow_events::Followers;
use crate::service::knowledge::Writes;
use crate::service::run_turn::Engine;
use crate::service::tools::Trials;
use crate::service::versions::Versions;
use crate::service::waiters::Waiters;
use crate::store::lease::HasLease;
use crate::store::writer::Writer;
use crate::tools::mcp::Sessions;
use crate::tools::{Adapters, QueryEmbedder, Searcher};
use crate::worker::Performers;

/// What the use cases need, and what does the work that no request waits for.
pub(super) fn assemble(
    config: &Config,
    on: &Foundation,
    writer: Writer,
    tasks: &Tasks,
    has_lease: HasLease,
) -> anyhow::Result<(Services, Performers)> {
    let allow_hosts = Arc::new(AllowHosts::parse(&config.outbound.allow_hosts)?);
    let outbound = GuardedClient::new(AllowHosts::clone(&allow_hosts))?;
    let embedder = models::embedder(config)?;
    let tools = adapters(config, on, outbound.clone(), embedder.clone());
    let services = services(config, on, writer, tasks, (allow_hosts, tools));
    let performers = Performers {
        embeddings: embedder.map(|embedder| embeddings(config, embedder)),
        sender: sender(config, on, outbound),
        engine: Arc::new(engine(config, on, services.clone(), has_lease)?),
    };
    Ok((services, performers))
}

fn adapters(
    config: &Config,
    on: &Foundation,
    outbound: GuardedClient,
    embedder: Option<Embedder>,
) -> Adapters {
    let timeout = config.embeddings.query_timeout;
    let embedder = embedder.map(|embedder| QueryEmbedder::new(embedder, timeout));
    Adapters {
        db: on.db.clone(),
        searcher: Searcher::new(on.db.clone(), embedder),
        outbound,
        mcp: Sessions::default(),
        seal_key: on.seal_key.clone(),
        clock: Arc::clone(&on.clock),
        ids: Arc::clone(&on.ids),
    }
}

fn embeddings(config: &Config, embedder: Embedder) -> Embeddings {
    Embeddings { embedder, batch: config.embeddings.batch, timeout: config.embeddings.timeout }
}

fn services(
    config: &Config,
    on: &Foundation,
    writer: Writer,
    tasks: &Tasks,
    (allow_hosts, tools): (Arc<AllowHosts>, Adapters),
) -> Services {
    Services {
        db: on.db.clone(),
        readers: on.readers.clone(),
        document_writes: Writes::default(),
        writer,
        clock: Arc::clone(&on.clock),
        ids: Arc::clone(&on.ids),
        versions: Versions::default(),
        waiters: Waiters::new(config.widget.max_waiting),
        followers: Followers::new(settings::followers(config), tasks.soft()),
        keys: Keys::default(),
        tools,
        trials: Trials::default(),
        seal_key: on.seal_key.clone(),
        allow_hosts,
        documents_changed: Arc::default(),
        widget_deadline: config.widget.deadline,
        stopping: tasks.hard().child_token(),
    }
}

fn engine(
    config: &Config,
    on: &Foundation,
    services: Services,
    has_lease: HasLease,
) -> anyhow::Result<Engine> {
    let (models, default_model) = models::build(config, &on.clock)?;
    let settings = settings::engine(config, default_model)?;
    Ok(Engine::new(services, models, settings, has_lease))
}

fn sender(config: &Config, on: &Foundation, outbound: GuardedClient) -> Sender {
    Sender {
        outbound,
        seal_key: on.seal_key.clone(),
        clock: Arc::clone(&on.clock),
        ids: Arc::clone(&on.ids),
        timeout: config.webhooks.timeout,
    }
}
