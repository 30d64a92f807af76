//! The ledger: each top-up, charge and refund, numbered, with the balance after it.

use super::clock::Micros;
use super::ids::{TurnId, WorkspaceId};
use super::money::Money;
use super::string_enum::string_enum;

string_enum! {
    /// What moved the balance.
    LedgerKind {
        /// The operator gave credit.
        TopUp = "top_up",
        /// A turn was admitted.
        Charge = "charge",
        /// A turn ended without a reply.
        Refund = "refund",
    }
}

/// One entry; the sum of a workspace's amounts is its balance, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    pub workspace: WorkspaceId,
    pub number: i64,
    pub kind: LedgerKind,
    /// Negative for a charge.
    pub amount: Money,
    pub balance_after: Money,
    pub turn: Option<TurnId>,
    /// What makes a top-up count once.
    pub reference: Option<String>,
    pub created_at: Micros,
}
