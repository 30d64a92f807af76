//! The lock file beside the embedded database: one server at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::data_dir::DataDirError;
use crate::service::private_file;

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
    #[error(transparent)]
    Unusable(#[from] DataDirError),
}

impl DataDirLock {
    /// Acquires the lock of an existing data folder, without waiting.
    pub(super) fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(LOCK_FILE);
        let opened = private_file::open_lock_file(&path);
        Self::lock(opened.map_err(|error| DataDirError::io(data_dir, &path, &error))?, data_dir)
    }

    /// Fails where [`Self::acquire`] would, and creates no file, which would belong to the user who runs the check.
    pub(super) fn check(data_dir: &Path) -> Result<(), LockError> {
        let path = data_dir.join(LOCK_FILE);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Self::lock(file, data_dir).map(drop),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(DataDirError::io(data_dir, &path, &error).into()),
        }
    }

    fn lock(file: File, data_dir: &Path) -> Result<Self, LockError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::AlreadyRunning(data_dir.to_owned())),
            Err(TryLockError::Error(error)) => {
                Err(DataDirError::io(data_dir, &data_dir.join(LOCK_FILE), &error).into())
            }
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
        assert_eq!(DataDirLock::check(folder.path()).unwrap_err().to_string(), refused.to_string());
        drop(first);
        DataDirLock::check(folder.path()).unwrap();
        DataDirLock::acquire(folder.path()).unwrap();
    }
}
