//! Readiness of this server: it can commit to its database, which has the expected schema.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::lifecycle::lease::LeaseStatus;
use crate::store::Db;

/// The timeout of the check.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the result of a check is used again.
const CACHE_TTL: Duration = Duration::from_millis(250);

/// The reason for not being ready. The text is for operators and contains no addresses or passwords.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(String);

/// Checks the database on a connection of its own, once at a time: requests that arrive meanwhile wait for the result, so no number of
/// them is a load. Cheap to clone.
///
/// Reads do not show whether the database takes commits, and a commit that hangs would occupy a session of the server for each check.
/// The renewals of the lease are commits, so they show it: after a check has failed, the process is ready when a renewal that was sent
/// later has succeeded.
#[derive(Clone, Debug)]
pub struct ReadinessCheck {
    lease: LeaseStatus,
    last: Arc<Mutex<Option<Checked>>>,
}

/// The result of a check.
#[derive(Clone, Debug)]
struct Checked {
    at: Instant,
    result: Result<(), NotReady>,
}

impl ReadinessCheck {
    /// A check that nothing has run yet.
    #[must_use]
    pub fn new(lease: LeaseStatus) -> Self {
        Self { lease, last: Arc::default() }
    }

    /// Checks the schema of the database and the lease, for at most 2 s, or returns the result of a check that has just ended.
    ///
    /// # Errors
    ///
    /// [`NotReady`] if the database cannot be used.
    pub async fn run(&self, db: &Db) -> Result<(), NotReady> {
        let mut last = self.last.lock().await;
        if let Some(checked) = last.as_ref()
            && checked.at.elapsed() < CACHE_TTL
        {
            return checked.result.clone();
        }
        let result = self.check(db).await;
        *last = Some(Checked { at: Instant::now(), result: result.clone() });
        result
    }

    async fn check(&self, db: &Db) -> Result<(), NotReady> {
        let checked = check_store(db).await;
        if checked.is_err() && db.is_shared() {
            self.lease.doubt();
        }
        checked?;
        self.lease.require_renewable().map_err(|failure| {
            let reason = failure.unwrap_or_else(|| "the next renewal is pending".to_owned());
            NotReady(format!("the lease of this process is not renewed: {reason}"))
        })
    }
}

async fn check_store(db: &Db) -> Result<(), NotReady> {
    match tokio::time::timeout(STORE_TIMEOUT, db.check_schema()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NotReady(error.to_string())),
        // The pool retries for longer than this.
        Err(_) => {
            let reason = db.connect_failure().unwrap_or_else(|| "it did not answer in time".to_owned());
            Err(NotReady(format!("the database is unavailable: {reason}")))
        }
    }
}
