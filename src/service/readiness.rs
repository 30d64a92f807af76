//! Readiness of this server: its database can be reached and has the expected schema.

use std::time::Duration;

use super::Services;

/// The timeout of the check.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason for not being ready. The text is for operators and contains no addresses or passwords.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(String);

/// Checks the schema of the database, for at most 2 s.
pub async fn check(services: &Services) -> Result<(), NotReady> {
    match tokio::time::timeout(STORE_TIMEOUT, services.db.check_schema()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NotReady(error.to_string())),
        Err(_) => Err(NotReady("the store did not answer in time".to_owned())),
    }
}
