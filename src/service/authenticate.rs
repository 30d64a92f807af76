//! Who sends a bearer key.

use sha2::{Digest as _, Sha256};

use super::Services;
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::store::keys;

/// The account of a bearer key; [`Error::Unauthenticated`] where it is none that holds now.
pub async fn authenticate(services: &Services, bearer: &str) -> Result<Account, Error> {
    let hash = Sha256::digest(bearer.as_bytes());
    let now = services.clock.now();
    let found = keys::find_account(services.db.read().await?.conn(), &hash, now).await?;
    found.ok_or(Error::Unauthenticated)
}
