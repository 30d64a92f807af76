//! The account of a bearer key: its workspace and scopes.

use super::ids::{KeyId, WorkspaceId};
use super::string_enum::string_enum;

string_enum! {
    /// What a key may do.
    Scope {
        /// Send messages; create, update and end conversations; widget links; the AI switch.
        MessagesWrite = "messages:write",
        /// Balance, ledger, usage.
        BillingRead = "billing:read",
        /// All other reading.
        Read = "read",
        /// All other writing.
        Config = "config",
    }
}

/// A checked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub workspace: WorkspaceId,
    pub key: KeyId,
    pub scopes: Vec<Scope>,
}

impl Account {
    /// Whether the key has this scope.
    #[must_use]
    pub fn has_scope(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}
