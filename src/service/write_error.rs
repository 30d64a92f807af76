//! The error of a write outside the writer.

use crate::domain::error::Error;
use crate::store::StoreError;

/// A write that failed after it was sent may have been committed.
pub(super) fn write_error(error: StoreError) -> Error {
    if error.is_transient() {
        return Error::Unavailable { outcome_unknown: true, source: Some(Box::new(error)) };
    }
    error.into()
}
