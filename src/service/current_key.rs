//! The key of a request, read again within the transaction of a write that outlives the key. Authentication trusts a key for some seconds,
//! in which a revoked one must not create another.

use crate::domain::account::{Account, OperatorAccount};
use crate::domain::api_key::ApiKey;
use crate::domain::audit::Actor;
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::store::{Conn, StoreError, keys, operator_keys};

/// The key that makes a change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credentials<'a> {
    /// A key of a workspace.
    Key(&'a Account),
    /// A key of the operator's API.
    Operator(&'a OperatorAccount),
}

impl<'a> Credentials<'a> {
    pub(super) fn actor(self) -> &'a Actor {
        match self {
            Self::Key(account) => &account.actor,
            Self::Operator(operator) => &operator.actor,
        }
    }

    /// Refuses a key that is revoked or expired. The caller has locked the workspace.
    pub(super) async fn check(
        self,
        conn: Conn<'_>,
        clock: &dyn Clock,
    ) -> Result<Result<(), Error>, StoreError> {
        match self {
            Self::Key(account) => Ok(read(conn, clock, account).await?.map(drop)),
            Self::Operator(operator) => check_operator(conn, clock, operator).await,
        }
    }
}

/// The key of an account. The caller has locked its workspace, so that a revocation waits.
///
/// The inner error is [`Error::Unauthenticated`] if the key is revoked or expired, or the account has a secret that is no longer valid.
pub(super) async fn read(
    conn: Conn<'_>,
    clock: &dyn Clock,
    account: &Account,
) -> Result<Result<ApiKey, Error>, StoreError> {
    let found = keys::find(conn, account.secret).await?;
    let now = clock.now();
    Ok(found.filter(|key| key.is_valid(now)).ok_or(Error::Unauthenticated))
}

/// Refuses an operator whose key is revoked or expired.
pub(super) async fn check_operator(
    conn: Conn<'_>,
    clock: &dyn Clock,
    operator: &OperatorAccount,
) -> Result<Result<(), Error>, StoreError> {
    let found = operator_keys::find_locked(conn, operator.secret).await?;
    let now = clock.now();
    Ok(if found.is_some_and(|key| key.is_valid(now)) { Ok(()) } else { Err(Error::Unauthenticated) })
}
