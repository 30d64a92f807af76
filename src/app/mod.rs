//! The composition root: the one place that builds adapters and joins tasks.

pub mod commands;
mod models;
mod parts;
mod serve;
mod settings;

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt as _;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Database};
use crate::domain::clock::Clock;
use crate::domain::ids::{Ids, ProcessId};
use crate::domain::seal::SealKey;
use crate::http::{self, AppState, Limits};
use crate::lifecycle::Tasks;
use crate::service::Services;
use crate::service::authenticate::keep_uses_written;
use crate::service::knowledge::Readers;
use crate::service::private_file;
use crate::store::lease::{LeaseKeeper, lease};
use crate::store::writer::{Slots, Writer, WriterContext};
use crate::store::{Conn, Db, delivery_claims, queue};
use crate::telemetry::Metrics;
use crate::worker::{Lease, Worker};

pub use serve::{openapi, serve};

/// How long the lanes may take to write what is left, once everything else has ended.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// How long the goodbyes to MCP servers may take.
const GOODBYES: Duration = Duration::from_secs(2);

/// Connections for what is written beside the lanes: claims, word of ends, sweeps.
const BESIDE_THE_LANES: u32 = 4;

/// The embedded database, in the data folder.
const SQLITE_FILE: &str = "rejoinder.db";

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    pub services: Services,
    pub worker: Worker,
    tasks: Tasks,
    background: Tasks,
    slots: Slots,
    /// Ends the lanes.
    last_writes: CancellationToken,
    /// Ends what must outlive the lanes: the lease, and who follows them.
    last: CancellationToken,
    lanes: Tasks,
    grace: Duration,
}

/// What a server is built on, to be chosen by tests.
#[derive(Clone, Debug)]
pub struct Foundation {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<Ids>,
    /// Where stored secrets are opened with it.
    pub seal_key: Option<Arc<SealKey>>,
    /// What reads documents of knowledge bases.
    pub readers: Readers,
    /// None where this process does not count.
    pub metrics: Option<Metrics>,
}

/// Connects to the store that the configuration names. The embedded one's folder is made, for its owner alone.
pub async fn open_store(config: &Config) -> anyhow::Result<Db> {
    match config.database() {
        Database::Sqlite { data_dir } => {
            private_file::make_folder(&data_dir)
                .with_context(|| format!("the data folder {} cannot be made", data_dir.display()))?;
            Ok(Db::sqlite(&data_dir.join(SQLITE_FILE)).await?)
        }
        Database::Postgres { url } => {
            let lanes = u32::try_from(config.store.lanes)?;
            let writing = lanes + BESIDE_THE_LANES;
            Ok(Db::postgres(url.expose_secret(), writing, config.store.read_connections).await?)
        }
    }
}

impl Server {
    /// Starts everything; the store has been migrated.
    pub async fn start(config: &Config, on: Foundation, listener: TcpListener) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let background = tasks.group();
        let lane_tasks = tasks.group();
        let (last_writes, last) = (CancellationToken::new(), CancellationToken::new());
        let address = listener.local_addr()?;
        let process = ProcessId(on.ids.ordered(on.clock.as_ref()));
        let (keeper, has_lease) = lease();
        let lease = begin_lease(config, &on, process, keeper).await?;

        let slots = Slots::new(settings::slot_limits(config));
        let (effects_in, effects) = mpsc::unbounded_channel();
        let context = WriterContext {
            db: on.db.clone(),
            clock: Arc::clone(&on.clock),
            ids: Arc::clone(&on.ids),
            process,
            bounds: settings::bounds(config),
            slots: slots.clone(),
            effects: effects_in,
            has_lease: has_lease.clone(),
        };
        let lanes = if on.db.is_shared() { config.store.lanes } else { 1 };
        let (writer, lanes) = Writer::new(&context, lanes, &last_writes);
        for lane in lanes {
            lane_tasks.spawn_critical("lane", lane.map(Ok));
        }
        let (services, performers) = parts::assemble(config, &on, writer, &tasks, has_lease.clone())?;
        let worker = Worker::new(
            services.clone(),
            performers,
            process,
            slots.clone(),
            settings::worker(config),
            tasks.clone(),
            has_lease,
        );
        worker.start(effects, lease, &background, &last);
        listen(config, &on, services.clone(), &tasks, listener, address);
        let grace = config.shutdown_grace;
        Ok(Self {
            address,
            services,
            worker,
            tasks,
            background,
            slots,
            last_writes,
            last,
            lanes: lane_tasks,
            grace,
        })
    }

    /// Waits for a signal, or for a task without which the server is of no use, and stops.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        self.tasks.listen_for_signals()?;
        self.tasks.soft().cancelled().await;
        let failed = self.tasks.failed();
        self.stop().await;
        anyhow::ensure!(!failed, "a part of the server has failed; see the log");
        Ok(())
    }

    /// Stops: what runs may finish within the grace, the rest is handed back, and all is written.
    pub async fn stop(self) {
        self.slots.close();
        tokio::select! {
            _ = self.tasks.shutdown(self.grace) => {}
            never = self.let_go_of_what_nobody_can_start() => match never {},
        }
        self.last_writes.cancel();
        // Nobody else's server holds up what is to be written.
        let goodbyes = tokio::time::timeout(GOODBYES, self.services.tools.mcp.close());
        let (_, all_written) = tokio::join!(goodbyes, self.lanes.drain(LAST_WRITES));
        if !all_written {
            tracing::warn!("not all could be written before the end");
        }
        // Only now may others take what this process owned.
        self.last.cancel();
        self.background.drain(LAST_WRITES).await;
        self.services.db.close().await;
    }

    /// Where no other process could start a turn that is still queued, its client need not wait for the
    /// end of the grace to hear that it failed.
    async fn let_go_of_what_nobody_can_start(&self) -> Infallible {
        if !self.services.db.is_shared() {
            self.worker.idle().await;
            self.services.stopping.cancel();
        }
        pending().await
    }
}

/// The address under which others reach this server.
fn public_address(config: &Config, listening_on: SocketAddr) -> String {
    config.public_url.as_ref().map_or_else(|| format!("http://{listening_on}"), ToString::to_string)
}

fn listen(
    config: &Config,
    on: &Foundation,
    services: Services,
    tasks: &Tasks,
    listener: TcpListener,
    address: SocketAddr,
) {
    let limits = Limits::new(&config.limits);
    if let Some(limits) = &limits {
        tasks.spawn_until_stop("limits", Arc::clone(limits).keep_up());
    }
    tasks.spawn_until_stop("sessions of MCP", services.tools.mcp.clone().keep_up());
    tasks.spawn_until_stop("uses of keys", keep_uses_written(services.clone()));
    let metrics = on.metrics.clone();
    if let Some(metrics) = &metrics {
        tasks.spawn_until_stop("metrics", metrics.clone().keep_up());
    }
    let public_url = public_address(config, address);
    let public_url = public_url.trim_end_matches('/').into();
    let state = AppState { services, limits, metrics, public_url, body_timeout: config.http.body_timeout };
    let serving = http::serve(listener, http::router(state), tasks.clone(), config.http.clone());
    tasks.spawn_critical("http", serving);
}

async fn begin_lease(
    config: &Config,
    on: &Foundation,
    process: ProcessId,
    keeper: LeaseKeeper,
) -> anyhow::Result<Option<(Lease, Db)>> {
    match config.database() {
        Database::Postgres { url } if on.db.is_shared() => {
            let db = Db::postgres(url.expose_secret(), 1, 1).await?;
            let lease = Lease::begin(&db, process, config.turn.lease, on.clock.as_ref(), keeper).await?;
            Ok(Some((lease, db)))
        }
        Database::Postgres { .. } | Database::Sqlite { .. } => {
            let clock = on.clock.as_ref();
            let queue = async |mut conn: Conn<'_>| {
                let turns = queue::queue_all_running(conn.reborrow(), clock).await?;
                Ok((turns, delivery_claims::queue_all_running(conn).await?))
            };
            let (turns, deliveries) = on.db.writing(queue).await?;
            if (turns, deliveries) != (0, 0) {
                tracing::info!(turns, deliveries, "what ran when the server ended is run on");
            }
            Ok(None)
        }
    }
}
