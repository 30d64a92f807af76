//! The connections of a process to its database, by their purpose.

use super::pool::PoolDatabase;
use super::{Pool, PooledConnection};
use crate::domain::ids::WorkspaceId;
use crate::fair_semaphore::{FairSemaphore, Shares};

/// Connections for claims, outcomes, polls and takeovers.
pub(super) const CONTROL_CONNECTIONS: u32 = 3;
/// The check of the database is never made twice at once.
pub(super) const HEALTH_CONNECTIONS: u32 = 1;
/// Writes outside the writer that run at once: documents, keys, sweeps. On PostgreSQL each has a connection besides those of the
/// writer's shards.
pub const OTHER_WRITES: u32 = 2;

/// The connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// `write`, `read`, `control` or `health`.
    pub pool: &'static str,
    pub used: usize,
    pub idle: usize,
    pub max: u32,
}

/// The connections of a process, by their purpose, so that a burst of one kind of work never delays another.
#[derive(Debug)]
pub struct Pools<D: PoolDatabase> {
    /// On SQLite a single connection; a discarded one may still be closing beside it.
    pub(super) write: Pool<D>,
    /// The permits of [`OTHER_WRITES`]. The writer needs none, so that it finds a connection whatever tenants write.
    pub(super) write_permits: FairSemaphore<Tenant>,
    pub(super) read: Pool<D>,
    /// A permit for each connection of `read`.
    pub(super) read_permits: FairSemaphore<Tenant>,
    /// The same pool as `control_read` on PostgreSQL, and as `write` on SQLite.
    pub(super) control_write: Pool<D>,
    pub(super) control_read: Pool<D>,
    pub(super) health: Pool<D>,
    /// Behind a pooler that gives each transaction another session of the server.
    pub(super) transaction_pooler: bool,
}

/// For whom a connection is used. A tenant may use most of those that tenants share, and never all, so that others need not wait for its
/// queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tenant {
    Workspace(WorkspaceId),
    /// A request whose workspace the query finds: by an API key, a conversation's widget UUID or a calendar token.
    Unknown,
    /// The process itself: sweeps and background work.
    Process,
}

impl From<WorkspaceId> for Tenant {
    fn from(workspace: WorkspaceId) -> Self {
        Self::Workspace(workspace)
    }
}

/// The permits of so many connections for reads: three quarters for one tenant, which is often the only one.
pub(super) fn read_permits(connections: u32) -> FairSemaphore<Tenant> {
    let total = usize::try_from(connections).unwrap_or(usize::MAX);
    FairSemaphore::new(Shares { total, per_key: total - total.div_ceil(4) })
}

/// The permits of so many writes outside the writer: half for one tenant.
pub(super) fn write_permits(connections: u32) -> FairSemaphore<Tenant> {
    FairSemaphore::new(Shares::half_of(usize::try_from(connections).unwrap_or(usize::MAX)))
}

/// The work that a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, turns, sweeps: their number depends on the clients.
    Work(Tenant),
    /// The writer, whose shards have a connection each, and commands of the operator.
    Unshared,
    /// The process itself: claims, outcomes, polls, takeovers. Each is one task.
    Control,
    /// The check whether the database can be used.
    Health,
}

impl<D: PoolDatabase> Pools<D> {
    pub(super) async fn acquire_write(&self, purpose: Purpose) -> Result<PooledConnection<D>, sqlx::Error> {
        match purpose {
            Purpose::Work(tenant) => self.write.acquire_shared(&self.write_permits, tenant).await,
            Purpose::Unshared => self.write.acquire().await,
            Purpose::Control | Purpose::Health => self.control_write.acquire().await,
        }
    }

    pub(super) async fn acquire_read(&self, purpose: Purpose) -> Result<PooledConnection<D>, sqlx::Error> {
        match purpose {
            Purpose::Work(tenant) => self.read.acquire_shared(&self.read_permits, tenant).await,
            Purpose::Unshared => self.read.acquire().await,
            Purpose::Control => self.control_read.acquire().await,
            Purpose::Health => self.health.acquire().await,
        }
    }

    pub(super) fn usage(&self) -> [PoolUsage; 4] {
        [
            self.write.usage("write"),
            self.read.usage("read"),
            self.control_read.usage("control"),
            self.health.usage("health"),
        ]
    }

    /// The writer of SQLite last: its end copies the write-ahead log.
    fn all(&self) -> [&Pool<D>; 5] {
        [&self.read, &self.health, &self.control_read, &self.control_write, &self.write]
    }

    pub(super) fn close_idle(&self) {
        for pool in self.all() {
            pool.close_idle();
        }
    }

    pub(super) async fn close(&self) {
        for pool in self.all() {
            pool.close().await;
        }
    }
}
