//! The data folder of the embedded database: its files, their permissions, and why it cannot be used.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::service::private_file;

/// The file of the embedded database in the data folder.
const SQLITE_FILE: &str = "rejoinder.db";

/// Created for a moment, to learn whether the folder can be written to.
const PROBE_FILE: &str = ".rejoinder-probe";

/// A folder or a file that this process cannot use. The text names the path and the command that helps.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}{}", path.display(), advice(data_dir, path, *kind))]
pub(super) struct DataDirError {
    data_dir: PathBuf,
    /// The folder, a file in it, or the folder where it would be created.
    path: PathBuf,
    kind: Option<ErrorKind>,
    cause: String,
}

/// The text of SQLite's error `SQLITE_NOTADB`: another file, or a damaged one.
const NOT_A_DATABASE: &str = "file is not a database";

impl DataDirError {
    pub(super) fn io(data_dir: &Path, path: &Path, error: &io::Error) -> Self {
        Self {
            data_dir: absolute(data_dir),
            path: absolute(path),
            kind: Some(error.kind()),
            cause: error.to_string(),
        }
    }

    /// An error of SQLite, which does not tell its cause.
    pub(super) fn sqlite(data_dir: &Path, error: &dyn std::error::Error) -> Self {
        let path = database_file(data_dir);
        if error.to_string().contains(NOT_A_DATABASE) {
            let cause = "it is not a database of SQLite, or it is damaged: restore it from its backup, or set another folder \
                 (REJOINDER_DATA_DIR)";
            let data_dir = absolute(data_dir);
            return Self { path: absolute(&path), data_dir, kind: None, cause: cause.to_owned() };
        }
        let usable = probe(data_dir).and_then(|()| OpenOptions::new().write(true).open(&path).map(drop));
        let kind = usable.err().map(|cause| cause.kind());
        Self { data_dir: absolute(data_dir), path: absolute(&path), kind, cause: error.to_string() }
    }
}

/// The path of the database in the data folder.
pub(super) fn database_file(data_dir: &Path) -> PathBuf {
    data_dir.join(SQLITE_FILE)
}

/// The path for messages: a relative one depends on the working directory.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Creates the folder and an empty database in it, if they do not exist, with access for their owner only.
pub(super) fn create(data_dir: &Path) -> Result<(), DataDirError> {
    if !data_dir.exists() {
        private_file::create_private_dir(data_dir)
            .map_err(|error| DataDirError::io(data_dir, data_dir, &error))?;
    }
    check_writable(data_dir)?;
    let file = database_file(data_dir);
    match private_file::create_empty(&file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(DataDirError::io(data_dir, &file, &error))
        }
        _ => Ok(()),
    }
}

/// The files that the server makes in its folder.
const FILES: [&str; 6] =
    [SQLITE_FILE, "rejoinder.db-wal", "rejoinder.db-shm", "rejoinder.lock", "secret.key", "demo.key"];

/// Removes all access of others than the owner from files that everyone could read, as after a careless restore.
pub(super) fn restrict(data_dir: &Path) {
    for file in FILES.map(|name| data_dir.join(name)) {
        match private_file::restrict(&file) {
            Ok(true) => tracing::info!("everyone could read {}; now only its owner can", file.display()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!("the permissions of {} cannot be restricted: {error}", file.display());
            }
            Ok(false) | Err(_) => {}
        }
    }
}

/// The first file that the folder's owner does not own, with the command that helps. It matters only if the server runs as that
/// owner, so it is no error.
pub(super) fn describe_other_owner(data_dir: &Path) -> Option<String> {
    let data_dir = absolute(data_dir);
    FILES.map(|name| data_dir.join(name)).into_iter().find_map(|file| {
        let (user, owner) = private_file::other_owner(&file)?;
        let (file, folder) = (file.display(), data_dir.display());
        Some(format!(
            "{file} belongs to user {user}, and its folder to user {owner}, who cannot open it: if the server runs as \
             user {owner}, run `chown -R --reference={folder} {folder}`"
        ))
    })
}

/// Checks that files can be created in the folder, or in the folder where it would be created.
pub(super) fn check_writable(data_dir: &Path) -> Result<(), DataDirError> {
    let existing = nearest_existing(data_dir);
    probe(&existing).map_err(|error| DataDirError::io(data_dir, &existing, &error))
}

fn nearest_existing(path: &Path) -> PathBuf {
    let path = absolute(path);
    path.ancestors().find(|path| path.exists()).map_or_else(|| path.clone(), Path::to_owned)
}

fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(PROBE_FILE);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        // It may be another check's, or a link to a file elsewhere.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(_) | Err(_) => {}
    }
    match fs::remove_file(&path) {
        // Another check was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// How the folder becomes usable for this process.
fn advice(data_dir: &Path, path: &Path, kind: Option<ErrorKind>) -> String {
    let folder = data_dir.display();
    match kind {
        Some(ErrorKind::ReadOnlyFilesystem) => {
            format!("; the file system of {folder} is read-only: mount a writable volume there")
        }
        Some(ErrorKind::StorageFull) => format!("; the file system of {folder} is full"),
        Some(ErrorKind::PermissionDenied) => ownership_advice(data_dir, path).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Names no other folder than the data folder: a command that changes its parent could change the whole system.
#[cfg(unix)]
fn ownership_advice(data_dir: &Path, path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    // Of the root folder, such a command would change the whole system.
    data_dir.parent()?;
    let existing = nearest_existing(path);
    let metadata = fs::metadata(&existing).ok()?;
    let (uid, gid) = process_owner()?;
    // A new folder in it could not be reached.
    if !data_dir.exists() && metadata.uid() != uid && metadata.mode() & 0o001 == 0 {
        let existing = existing.display();
        return Some(format!(
            "; user {uid} may not use folders in {existing}: set another folder (REJOINDER_DATA_DIR)"
        ));
    }
    let command = remedy(data_dir, data_dir.exists(), metadata.uid(), (uid, gid));
    Some(format!(
        "; {} belongs to user {} and group {} (mode {:o}), and this process is user {uid}: run `{command}` as root \
         (for a bind mount, on the host)",
        existing.display(),
        metadata.uid(),
        metadata.gid(),
        metadata.mode() & 0o7777,
    ))
}

/// The command that gives the process, of this user and group, access to its folder.
#[cfg(unix)]
fn remedy(folder: &Path, exists: bool, owner: u32, (uid, gid): (u32, u32)) -> String {
    let folder = folder.display();
    if !exists {
        format!("install -d -o {uid} -g {gid} -m 700 {folder}")
    } else if owner == uid {
        format!("chmod -R u+rwX {folder}")
    } else {
        format!("chown -R {uid}:{gid} {folder}")
    }
}

#[cfg(not(unix))]
fn ownership_advice(_data_dir: &Path, _path: &Path) -> Option<String> {
    None
}

/// The effective user and group of this process, where `/proc` tells them.
#[cfg(unix)]
fn process_owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;

    let metadata = fs::metadata("/proc/self").ok()?;
    Some((metadata.uid(), metadata.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_path_and_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();

        let error = create(&file).unwrap_err().to_string();

        assert!(error.starts_with(&format!("{}: Not a directory", file.display())), "{error}");
    }

    #[test]
    fn a_folder_without_access_is_named_with_the_command_that_helps() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        let denied =
            || DataDirError::io(&folder, parent.path(), &ErrorKind::PermissionDenied.into()).to_string();

        let missing = denied();
        std::fs::create_dir(&folder).unwrap();
        let own = denied();
        let foreign = remedy(&folder, true, 0, (10001, 10002));
        let read_only = DataDirError::io(&folder, &folder, &ErrorKind::ReadOnlyFilesystem.into()).to_string();

        let (uid, gid) = process_owner().unwrap();
        let create = format!("`install -d -o {uid} -g {gid} -m 700 {}`", folder.display());
        assert!(missing.contains(&create) && missing.contains("belongs to user"), "{missing}");
        assert!(own.contains(&format!("`chmod -R u+rwX {}`", folder.display())), "{own}");
        assert_eq!(foreign, format!("chown -R 10001:10002 {}", folder.display()));
        assert!(read_only.contains("mount a writable volume"), "{read_only}");
    }
}
