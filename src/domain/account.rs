//! The account of a bearer key: its workspace, its scopes, and who uses it.

use std::sync::Arc;

use super::audit::Actor;
use super::error::Error;
use super::failure::Failure;
use super::ids::{KeyId, OperatorKeyId, WorkspaceId};
use super::string_enum::string_enum;

string_enum! {
    /// What a key may do.
    Scope {
        /// Send messages; create, update and end conversations; turns; bookings; widget links; the AI switch.
        MessagesWrite = "messages:write",
        /// Balance, ledger, usage.
        BillingRead = "billing:read",
        /// All other reading.
        Read = "read",
        /// All other writing.
        Config = "config",
        /// Create, roll and revoke keys.
        Keys = "keys",
        /// Export conversations.
        Export = "export",
        /// Delete conversations, and all that is stored about a person.
        Erase = "erase",
    }
}

impl Scope {
    /// The scopes of a key that was created without any: none that makes keys, or takes people's data out or away.
    pub const DEFAULT: &[Self] = &[Self::MessagesWrite, Self::BillingRead, Self::Read, Self::Config];
}

/// The hash by which the database finds a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyHash(pub [u8; 32]);

/// A checked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub workspace: WorkspaceId,
    pub key: KeyId,
    /// Of the secret that was sent: a key that was rolled has two for a while.
    pub secret: KeyHash,
    pub scopes: Vec<Scope>,
    /// Whether the workspace was suspended when the key was read.
    pub is_suspended: bool,
    /// The key, and the request that uses it, for the audit log.
    pub actor: Arc<Actor>,
}

impl Account {
    /// Whether the key has this scope.
    #[must_use]
    pub fn has_scope(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The error of a suspended workspace.
    ///
    /// # Errors
    /// The operator had suspended the workspace when the key was read, at most four seconds ago.
    pub fn check_not_suspended(&self) -> Result<(), Error> {
        if self.is_suspended { Err(Error::Processing(Failure::WorkspaceSuspended)) } else { Ok(()) }
    }
}

/// A checked key of the operator's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorAccount {
    pub key: OperatorKeyId,
    /// Of the secret that was sent.
    pub secret: KeyHash,
    /// The key, and the request that uses it, for the audit log.
    pub actor: Arc<Actor>,
}
