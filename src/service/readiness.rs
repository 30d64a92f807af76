//! Readiness of this server: its database can be reached and has the expected schema.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

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
#[derive(Clone, Debug, Default)]
pub struct ReadinessCheck(Arc<Mutex<Option<Checked>>>);

/// The result of a check.
#[derive(Clone, Debug)]
struct Checked {
    at: Instant,
    result: Result<(), NotReady>,
}

impl ReadinessCheck {
    /// Checks the schema of the database, for at most 2 s, or returns the result of a check that has just ended.
    ///
    /// # Errors
    ///
    /// [`NotReady`] if the database cannot be used.
    pub async fn run(&self, db: &Db) -> Result<(), NotReady> {
        let mut last = self.0.lock().await;
        if let Some(checked) = last.as_ref()
            && checked.at.elapsed() < CACHE_TTL
        {
            return checked.result.clone();
        }
        let result = check(db).await;
        *last = Some(Checked { at: Instant::now(), result: result.clone() });
        result
    }
}

async fn check(db: &Db) -> Result<(), NotReady> {
    match tokio::time::timeout(STORE_TIMEOUT, db.check_schema()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NotReady(error.to_string())),
        Err(_) => Err(NotReady("the store did not answer in time".to_owned())),
    }
}
