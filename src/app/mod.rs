//! The composition root: builds the adapters and starts the tasks.

pub mod commands;
mod counters;
mod data_dir;
mod data_dir_lock;
mod models;
mod parts;
mod serve;
mod settings;
mod startup;
mod traces;

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Database};
use crate::domain::clock::Clock;
use crate::domain::delivery::DeliveryKey;
use crate::domain::ids::{IdGenerator, ProcessId};
use crate::domain::seal::SealKeys;
use crate::domain::turn::TurnRef;
use crate::http::{self, AppState, Limits, SharedState};
use crate::lifecycle::lease::{LeaseKeeper, lease_channel};
use crate::lifecycle::{Signals, Tasks};
use crate::service::Services;
use crate::service::authenticate::flush_last_used_periodically;
use crate::service::knowledge::DocumentExtractor;
use crate::service::processes::Process;
use crate::store::ownership::queue_all_running;
use crate::store::{Conn, Db, Tenant};
use crate::telemetry::Metrics;
use crate::worker::{Lease, Worker};
use crate::writer::{ConfigCache, TurnSlots, Writer, WriterContext};

pub use serve::{openapi, serve};

/// For the shards to write what is left once all other tasks have ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections to the listener of the operator's routes.
const OPERATOR_CONNECTIONS: usize = 64;
/// For closing the sessions of MCP servers.
const MCP_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The address that it listens on.
    pub address: SocketAddr,
    pub services: Services,
    pub worker: Worker,
    tasks: Tasks,
    background: Tasks,
    slots: TurnSlots,
    /// Stops the shards.
    writer_stop: CancellationToken,
    /// Stops the tasks that must outlive the shards: the lease and its watchers.
    background_stop: CancellationToken,
    shards: Tasks,
    grace: Duration,
}

/// Where clients connect.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    /// For `operator.listen`.
    pub operator: Option<TcpListener>,
}

/// The dependencies of a server; tests replace them.
#[derive(Clone, Debug)]
pub struct ServerDependencies {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    /// Opens stored secrets.
    pub seal_keys: Option<Arc<SealKeys>>,
    /// Reads documents of knowledge bases.
    pub document_extractor: DocumentExtractor,
    /// None if this process records no metrics.
    pub metrics: Option<Metrics>,
}

impl Server {
    /// Starts the server on a migrated database.
    pub async fn start(
        config: &Config,
        deps: ServerDependencies,
        listeners: Listeners,
    ) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let background = tasks.group();
        let shard_tasks = tasks.group();
        let (writer_stop, background_stop) = (CancellationToken::new(), CancellationToken::new());
        let address = listeners.public.local_addr()?;
        let process = ProcessId(deps.ids.uuid_v7(deps.clock.as_ref()));
        let (keeper, lease_status) = lease_channel();
        let lease = acquire_lease(config, &deps, process, keeper).await?;

        let slots = TurnSlots::new(settings::slot_limits(config));
        let (effects_tx, effects) = mpsc::unbounded_channel();
        let context = WriterContext {
            db: deps.db.clone(),
            clock: Arc::clone(&deps.clock),
            ids: Arc::clone(&deps.ids),
            process,
            bounds: settings::bounds(config),
            slots: slots.clone(),
            effects: effects_tx,
            lease: lease_status.clone(),
            config_cache: ConfigCache::default(),
        };
        let shards = if deps.db.is_shared() { config.store.shards } else { 1 };
        let (writer, shards) = Writer::new(&context, shards, &writer_stop);
        for shard in shards {
            shard_tasks.spawn_critical("shard", shard.map(Ok));
        }
        let (services, worker_deps) = parts::assemble(config, &deps, writer, &tasks, lease_status.clone())?;
        let worker = Worker::new(
            services.clone(),
            worker_deps,
            process,
            slots.clone(),
            settings::worker(config),
            tasks.clone(),
            lease_status,
        );
        worker.start(effects, lease, &background, &background_stop);
        let started_at = deps.clock.now();
        let own = Process { id: process, started_at, lease_expires_at: None };
        listen(config, &deps, (services.clone(), own), &tasks, listeners, address);
        let grace = config.shutdown_grace;
        Ok(Self {
            address,
            services,
            worker,
            tasks,
            background,
            slots,
            writer_stop,
            background_stop,
            shards: shard_tasks,
            grace,
        })
    }

    /// Waits for a signal or the failure of a critical task, and stops.
    pub async fn run_until_stopped(self, signals: Signals) -> anyhow::Result<()> {
        self.tasks.stop_at(signals);
        self.tasks.soft_stop().cancelled().await;
        let failed = self.tasks.failed();
        self.stop().await;
        anyhow::ensure!(!failed, "a part of the server has failed; see the log");
        Ok(())
    }

    /// Stops: running turns may finish within the grace period, the rest is handed back, and all queued writes are
    /// written.
    pub async fn stop(self) {
        self.slots.close();
        tokio::select! {
            _ = self.tasks.shutdown(self.grace) => {}
            never = self.fail_queued_turns_once_idle() => match never {},
        }
        self.writer_stop.cancel();
        // A foreign server must not delay our writes.
        let mcp_close = tokio::time::timeout(MCP_CLOSE_TIMEOUT, self.services.tools.mcp.close());
        let (_, all_written) = tokio::join!(mcp_close, self.shards.drain(DRAIN_TIMEOUT));
        if !all_written {
            tracing::warn!("some queued writes were lost at shutdown");
        }
        // From here on other processes may take over what this process owned.
        self.background_stop.cancel();
        self.background.drain(DRAIN_TIMEOUT).await;
        self.services.db.close().await;
    }

    /// On the embedded database no other process can start a queued turn, so its client learns at once that it
    /// failed.
    async fn fail_queued_turns_once_idle(&self) -> Infallible {
        if !self.services.db.is_shared() {
            self.worker.wait_until_idle().await;
            self.services.hard_stop.cancel();
        }
        pending().await
    }
}

/// The address under which clients reach this server: `public_url`, or the address that it listens on.
fn public_address(config: &Config, listening_on: SocketAddr) -> String {
    let own = || format!("http://{}", reachable_address(listening_on));
    config.public_url.as_ref().map_or_else(own, ToString::to_string)
}

/// An address to connect to. `0.0.0.0` and `[::]` mean all interfaces; clients on this machine use the loopback one.
fn reachable_address(listening_on: SocketAddr) -> SocketAddr {
    let ip = match listening_on.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listening_on.port())
}

fn listen(
    config: &Config,
    deps: &ServerDependencies,
    (services, process): (Services, Process),
    tasks: &Tasks,
    listeners: Listeners,
    address: SocketAddr,
) {
    let limits = Limits::new(&config.limits);
    if let Some(limits) = &limits {
        tasks.spawn_until_stop("limits", Arc::clone(limits).sweep_periodically());
    }
    tasks.spawn_until_stop("MCP sessions", services.tools.mcp.clone().sweep_idle());
    tasks.spawn_until_stop("key usage", flush_last_used_periodically(services.clone()));
    let metrics = deps.metrics.clone();
    if let Some(metrics) = &metrics {
        tasks.spawn_until_stop("metrics", metrics.clone().run_upkeep());
    }
    let public_url = public_address(config, address);
    let public_url = public_url.trim_end_matches('/').into();
    let body_timeout = config.http.body_timeout;
    let state = AppState::new(SharedState { services, limits, metrics, public_url, process, body_timeout });
    let proxies = Arc::clone(&config.limits.trusted_proxies);
    let routers = http::routers(&state, listeners.operator.is_some());
    let serving = http::serve(listeners.public, routers, tasks.clone(), config.http.clone(), proxies);
    tasks.spawn_critical("http", serving.map(Ok));
    if let Some(listener) = listeners.operator {
        let routers = http::operator_routers(&state);
        let serving =
            http::serve(listener, routers, tasks.clone(), operator_http(&config.http), Arc::default());
        tasks.spawn_critical("operator http", serving.map(Ok));
    }
}

/// The limits of the operator's listener, which few programs reach.
fn operator_http(http: &config::Http) -> config::Http {
    config::Http {
        h2c: false,
        max_connections: OPERATOR_CONNECTIONS,
        max_connections_per_address: OPERATOR_CONNECTIONS,
        ..http.clone()
    }
}

async fn acquire_lease(
    config: &Config,
    deps: &ServerDependencies,
    process: ProcessId,
    keeper: LeaseKeeper,
) -> anyhow::Result<Option<(Lease, Db)>> {
    match config.database() {
        Database::Postgres { url } if deps.db.is_shared() => {
            let db = Db::postgres_with(url.expose_secret(), startup::postgres_settings(config, 1, 1)).await?;
            let lease = Lease::acquire(&db, process, config.turn.lease, deps.clock.as_ref(), keeper).await?;
            Ok(Some((lease, db)))
        }
        Database::Postgres { .. } | Database::Sqlite { .. } => {
            let clock = deps.clock.as_ref();
            let queue = async |mut conn: Conn<'_>| {
                let turns = queue_all_running::<TurnRef>(conn.reborrow(), clock).await?;
                Ok((turns, queue_all_running::<DeliveryKey>(conn, clock).await?))
            };
            let (turns, deliveries) = deps.db.write(Tenant::Process, queue).await?;
            if (turns, deliveries) != (0, 0) {
                tracing::info!(turns, deliveries, "resuming work that was running when the server ended");
            }
            Ok(None)
        }
    }
}
