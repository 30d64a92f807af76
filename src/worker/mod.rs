//! The background work of a process: it runs turns, sends webhook deliveries, renews its lease, takes over the work of dead
//! processes, ends overdue turns, indexes messages, and removes expired rows.

mod deliveries;
mod effects;
mod failure_log;
mod lease;
mod poller;
mod reconcile;
mod registry;
mod sweeps;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::error::Error;
use crate::domain::ids::{ProcessId, TurnId};
use crate::domain::turn::{Api, TurnRef};
use crate::lifecycle::Tasks;
use crate::lifecycle::lease::LeaseStatus;
use crate::service::Services;
use crate::service::deliver_event::WebhookSender;
use crate::service::embed_documents::DocumentEmbedder;
use crate::service::run_turn::Engine;
use crate::store::turns::overdue::LifetimeLimits;
use crate::store::{Db, StoreError};
use crate::writer::{Effect, TurnSlots};
use deliveries::Deliveries;
pub use deliveries::DeliverySettings;
use failure_log::FailureLog;
pub use lease::Lease;
use registry::TaskRegistry;
use sweeps::message_index::UnindexedWorkspaces;
use sweeps::remnants::Remnants;
use sweeps::{
    embeddings, erasures, message_index, overdue_turns, retention, statistics, usage, workspace_retention,
    workspaces,
};
use turns::claims;

/// How often changes of other processes are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The limits of the background work.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// `turn.lease`.
    pub lease: Duration,
    /// `turn.deadline`.
    pub attempt_timeout: Duration,
    pub life: LifetimeLimits,
    /// `events.retention`.
    pub event_retention: Duration,
    /// `audit.address_retention`.
    pub address_retention: Duration,
    /// `None` if the limits are disabled.
    pub untouched: Option<UntouchedLimits>,
    pub deliveries: DeliverySettings,
}

/// The limits of conversations that visitors created and never used, beyond which they are removed.
#[derive(Clone, Copy, Debug)]
pub struct UntouchedLimits {
    /// `limits.untouched_retention`.
    pub max_age: Duration,
    /// Of a workspace: half of `limits.untouched_conversations`, so that there is always room for new ones.
    pub max_kept: i64,
}

/// The dependencies of the worker.
#[derive(Debug)]
pub struct WorkerDependencies {
    pub engine: Arc<Engine>,
    pub sender: WebhookSender,
    /// `None` if no embedding model is configured.
    pub embeddings: Option<DocumentEmbedder>,
}

/// The background work of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Worker {
    services: Services,
    engine: Arc<Engine>,
    deliveries: Deliveries,
    embeddings: Option<DocumentEmbedder>,
    process: ProcessId,
    slots: TurnSlots,
    settings: WorkerSettings,
    /// The tasks of turns and deliveries, which may finish while the process stops.
    tasks: Tasks,
    turns: TaskRegistry<TurnId>,
    lease: LeaseStatus,
    failures: Arc<FailureLog>,
    unindexed: Arc<UnindexedWorkspaces>,
    remnants: Arc<Remnants>,
}

impl Worker {
    /// A worker that starts turns and deliveries as tasks of `tasks`.
    #[must_use]
    pub fn new(
        services: Services,
        dependencies: WorkerDependencies,
        process: ProcessId,
        slots: TurnSlots,
        settings: WorkerSettings,
        tasks: Tasks,
        lease: LeaseStatus,
    ) -> Self {
        let WorkerDependencies { engine, sender, embeddings } = dependencies;
        let deliveries = Deliveries::new(sender, settings.deliveries);
        let turns = TaskRegistry::default();
        let (failures, unindexed) = (Arc::default(), Arc::default());
        Self {
            services,
            engine,
            deliveries,
            embeddings,
            process,
            slots,
            settings,
            tasks,
            turns,
            lease,
            failures,
            unindexed,
            remnants: Arc::default(),
        }
    }

    /// Starts the background work. Tasks that must outlive the running turns belong to `background` and end at
    /// `background_stop`; claims and sweeps end when the process begins to stop.
    pub fn start(
        &self,
        effects: mpsc::UnboundedReceiver<Effect>,
        lease: Option<(Lease, Db)>,
        background: &Tasks,
        background_stop: &CancellationToken,
    ) {
        let consume = effects::consume(self.clone(), effects, background_stop.clone());
        background.spawn_critical("effects", consume.map(Ok));
        let (worker, stop) = (self.clone(), background_stop.clone());
        background.spawn_restarted("poller", move || poller::poll(worker.clone(), stop.clone()));
        if let Some((lease, db)) = lease {
            let keep_alive = lease::keep_alive(self.clone(), lease, db, background_stop.clone());
            background.spawn_critical("lease", keep_alive.map(Ok));
        }
        let worker = self.clone();
        self.tasks.spawn_restarted("turn claims", move || claims::claim(worker.clone()));
        self.spawn_until_stop("sweeper", overdue_turns::sweep);
        self.spawn_until_stop("retention", retention::remove);
        self.spawn_until_stop("usage", usage::count);
        self.spawn_until_stop("message index", message_index::index);
        self.spawn_until_stop("suspended workspaces", workspaces::discard_suspended);
        self.spawn_until_stop("deleted workspaces", workspaces::remove_deleted);
        self.spawn_until_stop("erasures", erasures::run);
        self.spawn_until_stop("workspace retention", workspace_retention::run);
        self.spawn_until_stop("statistics", statistics::record);
        self.spawn_until_stop("turn reconciliation", reconcile::run::<TurnRef>);
        if let Some(embedder) = self.embeddings.clone() {
            self.spawn_until_stop("embeddings", move |worker| embeddings::embed(worker, embedder.clone()));
        }
        deliveries::start(self, background, background_stop);
    }

    /// Runs a task that is cancelled at shutdown, and started again if it panics. If it ends earlier, the process stops.
    fn spawn_until_stop<F>(&self, name: &'static str, task: impl Fn(Self) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (worker, soft) = (self.clone(), self.tasks.soft_stop());
        self.tasks.spawn_restarted(name, move || {
            soft.clone().run_until_cancelled_owned(task(worker.clone())).map(drop)
        });
    }

    /// Whether the lease of this process is valid, so that it may act on the work that it owns.
    #[must_use]
    pub fn lease(&self) -> bool {
        self.lease.is_valid()
    }

    /// The id of this process in the database.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Waits until no turn runs here, and none is about to.
    pub async fn wait_until_idle(&self) {
        let in_use = || Api::ALL.iter().any(|api| self.slots.in_use(*api) > 0);
        while in_use() || self.turns.count() > 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Claims and runs queued turns until none may start here: for tests.
    pub async fn run_until_empty(&self) {
        while claims::claim_once(self).await > 0 || self.turns.count() > 0 {
            self.turns.changed().await;
        }
    }

    /// Removes conversations that visitors created and never used, beyond their limits: for tests.
    pub async fn remove_untouched_conversations(&self) -> Result<(), StoreError> {
        retention::remove_untouched(self).await
    }

    /// Removes the addresses of old entries of the audit log: for tests.
    pub async fn remove_old_addresses(&self) -> Result<(), StoreError> {
        retention::remove_addresses(self).await
    }

    /// Applies the retentions of workspaces: for tests.
    pub async fn apply_retentions(&self) -> Result<(), Error> {
        workspace_retention::apply(self).await
    }

    /// Removes expired events: for tests.
    pub async fn remove_old_events(&self) -> Result<(), StoreError> {
        retention::remove_events(self).await
    }
}
