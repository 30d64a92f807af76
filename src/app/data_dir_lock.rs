//! The lock file beside the embedded database: one server at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "rejoinder.lock";

/// The lock of a data folder. The operating system releases it when the process ends, even after a crash.
#[derive(Debug)]
pub(super) struct DataDirLock {
    _file: File,
}

/// Why the lock could not be acquired.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another server is running on this data folder ({})", .0.display())]
    AlreadyRunning(PathBuf),
    #[error("the lock file {} cannot be used", path.display())]
    Unusable { path: PathBuf, source: io::Error },
}

impl DataDirLock {
    /// Acquires the lock of an existing data folder, without waiting.
    pub(super) fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(LOCK_FILE);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(|source| LockError::Unusable { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::AlreadyRunning(data_dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(LockError::Unusable { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDirLock::acquire(folder.path()).unwrap();

        let refused = DataDirLock::acquire(folder.path()).unwrap_err();

        assert!(refused.to_string().starts_with("another server is running on this data folder ("));
        drop(first);
        DataDirLock::acquire(folder.path()).unwrap();
    }
}
