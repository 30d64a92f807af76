//! The processes that serve the database.

use super::Services;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::ProcessId;
use crate::store::{Conn, Tenant, processes};

/// The most that are listed.
const LIMIT: i64 = 200;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub id: ProcessId,
    pub started_at: Micros,
    /// None for the only process of the embedded database.
    pub lease_expires_at: Option<Micros>,
}

/// The processes, the newest first. `own` is this process, which has no lease on the embedded database.
pub async fn list(services: &Services, own: Process) -> Result<Vec<Process>, Error> {
    let list = async |conn: Conn<'_>| processes::list(conn, LIMIT).await;
    let leases = services.db.read(Tenant::Process, list).await?;
    let mut found: Vec<_> = leases
        .into_iter()
        .map(|lease| Process {
            id: lease.process,
            started_at: lease.started_at,
            lease_expires_at: Some(lease.expires_at),
        })
        .collect();
    if !found.iter().any(|process| process.id == own.id) {
        found.insert(0, own);
    }
    Ok(found)
}
