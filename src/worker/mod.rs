//! The background of a process: it runs the turns that start here, claims those
//! that are queued, sends webhook deliveries, keeps its lease, takes over what dead
//! processes left, ends what has been open for too long, and removes what is kept no
//! longer.

mod books;
mod claims;
mod deliveries;
mod effects;
mod embeddings;
mod lease;
mod retention;
mod sweeper;
mod wakes;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::ProcessId;
use crate::domain::turn::Door;
use crate::lifecycle::Tasks;
use crate::service::Services;
use crate::service::deliver_event::Sender;
use crate::service::embed_documents::Embeddings;
use crate::service::run_turn::Engine;
use crate::store::lease::HasLease;
use crate::store::overdue::LifeBounds;
use crate::store::writer::{Effect, Slots};
use crate::store::{Db, StoreError};
use books::Books;
use deliveries::Deliveries;
pub use deliveries::DeliverySettings;
pub use lease::Lease;

/// How often other processes' doings are looked for.
const POLL: Duration = Duration::from_millis(250);

/// The bounds that the background keeps to.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// `turn.lease`.
    pub lease: Duration,
    /// `turn.deadline`.
    pub attempt: Duration,
    pub life: LifeBounds,
    /// `events.retention`.
    pub events_kept: Duration,
    pub deliveries: DeliverySettings,
}

/// What performs the work of this process.
#[derive(Debug)]
pub struct Performers {
    pub engine: Arc<Engine>,
    pub sender: Sender,
    /// None where no endpoint is configured.
    pub embeddings: Option<Embeddings>,
}

/// The background of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Worker {
    services: Services,
    engine: Arc<Engine>,
    deliveries: Deliveries,
    embeddings: Option<Embeddings>,
    process: ProcessId,
    slots: Slots,
    settings: WorkerSettings,
    /// What runs here, turns and deliveries, are tasks of these, and may finish while the process stops.
    turns: Tasks,
    books: Books,
    has_lease: HasLease,
}

impl Worker {
    /// A worker that starts turns and deliveries as tasks of `turns`.
    #[must_use]
    pub fn new(
        services: Services,
        performers: Performers,
        process: ProcessId,
        slots: Slots,
        settings: WorkerSettings,
        turns: Tasks,
        has_lease: HasLease,
    ) -> Self {
        let Performers { engine, sender, embeddings } = performers;
        let deliveries = Deliveries::new(sender, settings.deliveries);
        let books = Books::default();
        Self { services, engine, deliveries, embeddings, process, slots, settings, turns, books, has_lease }
    }

    /// Starts the background. What must outlive the running turns goes on until `last`, as tasks of
    /// `background`; claims and sweeps end where the process begins to stop.
    pub fn start(
        &self,
        effects: mpsc::UnboundedReceiver<Effect>,
        lease: Option<(Lease, Db)>,
        background: &Tasks,
        last: &CancellationToken,
    ) {
        let follow = effects::follow(self.clone(), effects, last.clone());
        background.spawn_critical("effects", follow.map(Ok));
        background.spawn_critical("wakes", wakes::poll(self.clone(), last.clone()).map(Ok));
        if let Some((lease, db)) = lease {
            let keep = lease::keep(self.clone(), lease, db, last.clone());
            background.spawn_critical("lease", keep.map(Ok));
        }
        self.turns.spawn_critical("claims", claims::claim(self.clone()).map(Ok));
        self.spawn_until_stop("sweeper", sweeper::sweep(self.clone()));
        self.spawn_until_stop("retention", retention::remove(self.clone()));
        self.spawn_until_stop("own books", books::compare(self.clone()));
        if let Some(embeddings) = self.embeddings.clone() {
            self.spawn_until_stop("embeddings", embeddings::embed(self.clone(), embeddings));
        }
        deliveries::start(self, background, last);
    }

    /// What may be dropped wherever it is, and is where the process begins to stop. Until then the process
    /// is of no use without it.
    fn spawn_until_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let soft = self.turns.soft();
        self.turns.spawn_critical(name, async move {
            soft.run_until_cancelled(task).await;
            Ok(())
        });
    }

    /// Whether this process has its lease now, and may act on what it owns.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.has_lease.now()
    }

    /// Who this process is in the store.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Waits until no turn runs here, and none is about to.
    pub async fn idle(&self) {
        let in_use = || Door::ALL.iter().any(|door| self.slots.in_use(*door) > 0);
        while in_use() || self.books.count() > 0 {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Claims and runs queued turns until there are none that may start here: for tests.
    pub async fn run_until_empty(&self) {
        while claims::claim_once(self).await > 0 || self.books.count() > 0 {
            self.books.changed().await;
        }
    }

    /// Removes events that are kept no longer: for tests.
    pub async fn remove_old_events(&self) -> Result<(), StoreError> {
        retention::remove_events(self).await
    }
}
