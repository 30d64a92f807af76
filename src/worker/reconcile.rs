//! Compares the tasks of this process with the turns and deliveries that it owns according to the store. Work without a
//! task is handed back; after an outage, tasks whose work others have taken over are cancelled.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use super::Worker;
use super::registry::TaskRegistry;
use crate::domain::error::Error;
use crate::store::StoreError;
use crate::store::ownership::{Owned, OwnedWork, list_owned};

/// Owned work whose tasks this process registers.
pub(super) trait RegisteredWork: OwnedWork + Copy + Eq + Hash + Debug + Send + Sync + 'static {
    /// The key of its task in the registry.
    type TaskKey: Copy + Eq + Hash + Send + Sync + 'static;

    fn task_key(&self) -> Self::TaskKey;

    fn registry(worker: &Worker) -> &TaskRegistry<Self::TaskKey>;

    /// Queues the work, unless its fence has changed.
    fn hand_back(worker: &Worker, owned: Owned<Self>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Every half lease, hands back the work that this process owns without a task in two reads running, with the same
/// fence. Never returns.
pub(super) async fn run<W: RegisteredWork>(worker: Worker) {
    let mut missing = HashSet::new();
    loop {
        tokio::time::sleep(worker.settings.lease.max(Duration::from_secs(1)) / 2).await;
        let reconciled = reconcile_once::<W>(&worker, &missing).await;
        if let Some(now_missing) = worker.failures.record("owned work could not be read", reconciled) {
            missing = now_missing;
        }
    }
}

async fn reconcile_once<W: RegisteredWork>(
    worker: &Worker,
    missing: &HashSet<Owned<W>>,
) -> Result<HashSet<Owned<W>>, StoreError> {
    let mut now_missing = HashSet::new();
    for owned in read_owned::<W>(worker).await? {
        if W::registry(worker).contains(owned.key.task_key()) {
            continue;
        }
        if missing.contains(&owned) {
            tracing::warn!(work = ?owned.key, "this process owns work without a task: it is handed back");
            // An error of one does not affect the others.
            let handed_back = W::hand_back(worker, owned).await;
            if worker.failures.record("owned work could not be handed back", handed_back).is_some() {
                continue;
            }
        }
        now_missing.insert(owned);
    }
    Ok(now_missing)
}

/// Cancels the tasks whose work this process does not own any more.
pub(super) async fn cancel_fenced_off<W: RegisteredWork>(worker: &Worker) -> Result<(), StoreError> {
    // Listed before the read: work that is claimed in between is ours.
    let running = W::registry(worker).running();
    let owned: HashSet<_> =
        read_owned::<W>(worker).await?.into_iter().map(|owned| owned.key.task_key()).collect();
    for (_, cancelled) in running.into_iter().filter(|(key, _)| !owned.contains(key)) {
        cancelled.cancel();
    }
    Ok(())
}

async fn read_owned<W: RegisteredWork>(worker: &Worker) -> Result<Vec<Owned<W>>, StoreError> {
    worker.services.db.control_read(async |conn| list_owned(conn, worker.process).await).await
}
