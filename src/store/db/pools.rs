//! The connections of a process to its database, by their purpose.

use super::Pool;
use super::pool::PoolDatabase;

/// Connections for claims, outcomes, polls and takeovers.
pub(super) const CONTROL_CONNECTIONS: u32 = 3;
/// The check of the database is never made twice at once.
pub(super) const HEALTH_CONNECTIONS: u32 = 1;

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
    pub(super) read: Pool<D>,
    /// The same pool as `control_read` on PostgreSQL, and as `write` on SQLite.
    pub(super) control_write: Pool<D>,
    pub(super) control_read: Pool<D>,
    pub(super) health: Pool<D>,
    /// Behind a pooler that gives each transaction another session of the server.
    pub(super) transaction_pooler: bool,
}

/// The work that a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, turns, sweeps: their number depends on the clients.
    Work,
    /// The process itself: claims, outcomes, polls, takeovers. Each is one task.
    Control,
    /// The check whether the database can be used.
    Health,
}

impl<D: PoolDatabase> Pools<D> {
    pub(super) fn writing(&self, purpose: Purpose) -> &Pool<D> {
        match purpose {
            Purpose::Work => &self.write,
            Purpose::Control | Purpose::Health => &self.control_write,
        }
    }

    pub(super) fn reading(&self, purpose: Purpose) -> &Pool<D> {
        match purpose {
            Purpose::Work => &self.read,
            Purpose::Control => &self.control_read,
            Purpose::Health => &self.health,
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
