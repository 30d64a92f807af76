//! Whether this server can serve: its store is reached, and is one that it understands.

use std::time::Duration;

use super::Services;

/// How long the store has to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why this server cannot serve now; for operators, without addresses or passwords.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(String);

/// Asks the store, for at most 2 s.
pub async fn check(services: &Services) -> Result<(), NotReady> {
    match tokio::time::timeout(STORE_TIMEOUT, services.db.check_schema()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NotReady(error.to_string())),
        Err(_) => Err(NotReady("the store did not answer in time".to_owned())),
    }
}
