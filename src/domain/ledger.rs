//! The ledger: numbered top-ups, charges and refunds, each with the balance after it.

use super::clock::Micros;
use super::ids::{TurnId, WorkspaceId};
use super::money::Money;
use super::string_enum::string_enum;

string_enum! {
    /// The kind of an entry.
    LedgerKind {
        /// The operator gave credit.
        TopUp = "top_up",
        /// A turn was admitted.
        Charge = "charge",
        /// A turn ended without a reply.
        Refund = "refund",
    }
}

/// An entry. The balance of a workspace is always the sum of its amounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    pub workspace: WorkspaceId,
    pub number: i64,
    pub kind: LedgerKind,
    /// Negative for a charge.
    pub amount: Money,
    pub balance_after: Money,
    pub turn: Option<TurnId>,
    /// The reference of a top-up, which counts once.
    pub reference: Option<String>,
    pub created_at: Micros,
}
