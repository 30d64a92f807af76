//! Credit that the operator grants to a workspace, once for each reference.

use std::sync::Arc;

use crate::domain::audit::Actor;
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::IdGenerator;
use crate::domain::ledger::LedgerEntry;
use crate::domain::money::Money;
use crate::store::{Db, StoreError, Tenant, ledger, workspaces};
use crate::writer::{TopUp, decide_inline};

/// The error of granting credit.
#[derive(Debug, thiserror::Error)]
pub enum CreditError {
    #[error("there is no workspace \"{0}\"")]
    UnknownWorkspace(String),
    #[error("a reference must have 1 to 200 characters")]
    InvalidReference,
    #[error("an amount of zero moves nothing")]
    ZeroAmount,
    /// The reference was used before with another amount.
    #[error("{reference} has counted already, for {amount}; nothing was credited. Give another reference")]
    AmountMismatch { reference: String, amount: Money },
    /// The balance would become negative or too large.
    #[error("the balance is {balance}: {cause}")]
    Refused { balance: Money, cause: Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Repeating with the same reference shows whether it was granted.
    #[error("it is unknown whether the credit was granted; repeat the command with the same reference")]
    OutcomeUnknown(#[source] StoreError),
}

/// The outcome of granting credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreditOutcome {
    Granted(LedgerEntry),
    /// The reference was used before with the same amount; nothing was granted.
    AlreadyGranted {
        balance: Money,
    },
}

/// Grants credit in the name of an actor; a negative `amount` deducts it, down to a balance of zero.
pub async fn credit(
    db: &Db,
    clock: &dyn Clock,
    ids: &IdGenerator,
    slug: &str,
    amount: Money,
    reference: &str,
    actor: Arc<Actor>,
) -> Result<CreditOutcome, CreditError> {
    if reference.trim().is_empty() || reference.chars().count() > 200 || reference.contains('\0') {
        return Err(CreditError::InvalidReference);
    }
    if amount == Money::ZERO {
        return Err(CreditError::ZeroAmount);
    }
    let found = db.read(Tenant::Process, async |conn| workspaces::find_by_slug(conn, slug).await).await?;
    let workspace = found.ok_or_else(|| CreditError::UnknownWorkspace(slug.to_owned()))?.id;
    let command = TopUp { workspace, amount, reference: reference.to_owned(), actor };

    let mut tx = db.begin().await?;
    let locked = workspaces::lock(tx.conn(), &[workspace].into()).await?;
    let balance = locked.first().map_or(Money::ZERO, |(_, state)| state.balance);
    if let Some(entry) = ledger::find_by_reference(tx.conn(), workspace, reference).await? {
        if entry.amount != amount {
            return Err(CreditError::AmountMismatch {
                reference: reference.to_owned(),
                amount: entry.amount,
            });
        }
        return Ok(CreditOutcome::AlreadyGranted { balance });
    }
    let decided = decide_inline(tx.conn(), clock, ids, &command).await?;
    let entry = decided.map_err(|cause| CreditError::Refused { balance, cause })?;
    tx.commit().await.map_err(CreditError::OutcomeUnknown)?;
    Ok(CreditOutcome::Granted(entry))
}
