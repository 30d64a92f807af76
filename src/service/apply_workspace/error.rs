//! Why a workspace file was not applied.

use crate::domain::error::Error;
use crate::formats::workspace_file::WorkspaceFileError;
use crate::store::StoreError;
use crate::tools::MIN_SECRET_BYTES;

/// Nothing was changed, but for [`ApplyError::UncertainCommit`].
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text itself.
    #[error(transparent)]
    File(#[from] WorkspaceFileError),
    #[error("the secret {{ env = \"{0}\" }} is not set in the environment")]
    SecretMissing(String),
    /// A short secret occurs in ordinary text by chance, so it could not be masked.
    #[error("the secret {{ env = \"{0}\" }} is shorter than {MIN_SECRET_BYTES} bytes")]
    SecretTooShort(String),
    #[error(
        "the file has a secret, and there is no key to seal it with: set REJOINDER_SECRET_KEY (32 bytes in \
         base64, as `openssl rand -base64 32` prints them) or REJOINDER_SECRET_KEY_FILE"
    )]
    NoSecretKey,
    #[error("a secret could not be sealed")]
    Seal,
    /// The file conflicts with the stored workspace.
    #[error("{0}")]
    Refused(String),
    #[error("what the file asks for was refused")]
    Decision(#[source] Error),
    #[error("could not be written as text")]
    Serialize(#[from] serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("whether the file was applied is unknown; apply it again")]
    UncertainCommit(#[source] StoreError),
}
