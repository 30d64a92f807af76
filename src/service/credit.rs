//! Credit that the operator grants to a workspace, once for each reference.

use std::sync::Arc;

use crate::domain::audit::Actor;
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::ids::IdGenerator;
use crate::domain::ledger::LedgerEntry;
use crate::domain::money::Money;
use crate::store::{Conn, Db, StoreError, Tenant, ledger, workspaces};
use crate::writer::{TopUp, decide_inline};

/// The longest reference, in characters.
pub const MAX_REFERENCE: usize = 200;

/// The reference of the credit that a new workspace has.
pub(super) const OPENING_REFERENCE: &str = "opening";

/// The error of granting credit.
#[derive(Debug, thiserror::Error)]
pub enum CreditError {
    #[error("there is no workspace \"{0}\"")]
    UnknownWorkspace(String),
    #[error("a reference must have 1 to {MAX_REFERENCE} characters")]
    InvalidReference,
    #[error("the amount must not be zero")]
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

/// Grants credit in the name of an actor, to the workspace with this slug; a negative `amount` deducts it, down to a balance of zero.
pub async fn credit(
    db: &Db,
    clock: &dyn Clock,
    ids: &IdGenerator,
    slug: &str,
    amount: Money,
    reference: &str,
    actor: Arc<Actor>,
) -> Result<CreditOutcome, CreditError> {
    let found = db.read(Tenant::Process, async |conn| workspaces::find_by_slug(conn, slug).await).await?;
    let workspace = found.ok_or_else(|| CreditError::UnknownWorkspace(slug.to_owned()))?.id;
    let command = TopUp { workspace, amount, reference: reference.to_owned(), actor };
    let mut tx = db.begin().await?;
    let granted = grant(tx.conn(), clock, ids, &command).await??;
    tx.commit().await.map_err(CreditError::OutcomeUnknown)?;
    Ok(granted)
}

/// Grants credit within the transaction of the caller; a negative amount deducts it, down to a balance of zero. A refusal has changed
/// nothing.
pub(super) async fn grant(
    mut conn: Conn<'_>,
    clock: &dyn Clock,
    ids: &IdGenerator,
    command: &TopUp,
) -> Result<Result<CreditOutcome, CreditError>, StoreError> {
    let &TopUp { workspace, amount, ref reference, .. } = command;
    if reference.trim().is_empty() || reference.chars().count() > MAX_REFERENCE || reference.contains('\0') {
        return Ok(Err(CreditError::InvalidReference));
    }
    if amount == Money::ZERO {
        return Ok(Err(CreditError::ZeroAmount));
    }
    let locked = workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
    let Some((_, state)) = locked.first() else {
        return Ok(Err(CreditError::UnknownWorkspace(workspace.to_string())));
    };
    let balance = state.balance;
    if let Some(entry) = ledger::find_by_reference(conn.reborrow(), workspace, reference).await? {
        if entry.amount == amount {
            return Ok(Ok(CreditOutcome::AlreadyGranted { balance }));
        }
        let reference = reference.clone();
        return Ok(Err(CreditError::AmountMismatch { reference, amount: entry.amount }));
    }
    let entry = match decide_inline(conn.reborrow(), clock, ids, command).await? {
        Ok(entry) => entry,
        Err(cause) => return Ok(Err(CreditError::Refused { balance, cause })),
    };
    Ok(Ok(CreditOutcome::Granted(entry)))
}
