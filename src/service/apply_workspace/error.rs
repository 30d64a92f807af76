//! The errors of applying a workspace file.

use crate::domain::error::Error;
use crate::formats::workspace_file::WorkspaceFileError;
use crate::store::StoreError;
use crate::tools::MIN_SECRET_BYTES;

/// Nothing was changed, except perhaps after [`ApplyError::UncertainCommit`].
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file is malformed.
    #[error(transparent)]
    File(#[from] WorkspaceFileError),
    #[error("the secret {{ env = \"{0}\" }} is not set in the environment")]
    SecretMissing(String),
    /// The text names the variable.
    #[error("a secret of the file cannot be read: {0}")]
    SecretUnreadable(String),
    /// A short secret occurs in ordinary text by chance, so it could not be masked.
    #[error("the secret {{ env = \"{0}\" }} is shorter than {MIN_SECRET_BYTES} bytes")]
    SecretTooShort(String),
    #[error(
        "the file has a secret, but no key to encrypt it is configured: set REJOINDER_SECRET_KEY (32 bytes in \
         base64, as `openssl rand -base64 32` prints them) or REJOINDER_SECRET_KEY_FILE"
    )]
    NoSecretKey,
    #[error("a secret could not be encrypted")]
    Seal,
    /// The file conflicts with the stored workspace.
    #[error("{0}")]
    Refused(String),
    #[error("a change in the file was refused")]
    Decision(#[source] Error),
    #[error("the configuration could not be serialized")]
    Serialize(#[from] serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it is unknown whether the file was applied; apply it again")]
    UncertainCommit(#[source] StoreError),
}
