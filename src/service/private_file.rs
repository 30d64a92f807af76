//! The data folder and the secret files in it, readable only by their owner. A file is written completely or not at all,
//! and an existing file is never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use secrecy::SecretString;

/// Creates a folder and its parents. An existing folder keeps its permissions.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    private_dir(DirBuilder::new().recursive(true)).create(path)
}

/// The trimmed text of a file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> io::Result<Option<SecretString>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a line to a new file, and leaves an existing file as it is: read it afterwards. `nonce` distinguishes
/// concurrent writers.
pub(super) fn write_new(path: &Path, line: &str, nonce: u64) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        create_private_dir(dir)?;
    }
    let draft = path.with_extension(format!("{nonce:016x}.draft"));
    let linked = write_draft(&draft, line).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    linked.and(removed)
}

/// Creates an empty file.
///
/// # Errors
/// `AlreadyExists` if there is one.
pub fn create_empty(path: &Path) -> io::Result<()> {
    private(OpenOptions::new().write(true).create_new(true)).open(path).map(drop)
}

/// Opens a file to lock it, and creates it if it does not exist.
pub fn open_lock_file(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().create(true).truncate(false).write(true)).open(path)
}

/// If everyone can read or write the file, removes all access of others than its owner. Returns whether it did.
#[cfg(unix)]
pub fn restrict(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;

    const OF_OTHERS: u32 = 0o007;
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & OF_OTHERS == 0 {
        return Ok(false);
    }
    permissions.set_mode(0o600);
    fs::set_permissions(path, permissions)?;
    Ok(true)
}

/// Other systems have other permissions.
#[cfg(not(unix))]
pub fn restrict(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

fn write_draft(draft: &Path, line: &str) -> io::Result<()> {
    let mut file: File = private(OpenOptions::new().write(true).create_new(true)).open(draft)?;
    writeln!(file, "{line}")?;
    file.sync_all()
}

#[cfg(unix)]
fn private_dir(builder: &mut DirBuilder) -> &mut DirBuilder {
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700)
}

#[cfg(not(unix))]
fn private_dir(builder: &mut DirBuilder) -> &mut DirBuilder {
    builder
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_and_its_folder_are_their_owners_alone_and_the_first_writer_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/demo.key");
        assert!(read(&path).unwrap().is_none());

        write_new(&path, "first", 1).unwrap();
        write_new(&path, "second", 2).unwrap();

        assert_eq!(read(&path).unwrap().unwrap().expose_secret(), "first");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_everyone_can_read_is_restricted_and_one_for_a_group_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rejoinder.db");
        create_empty(&path).unwrap();
        let restricted = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let changed = restrict(&path).unwrap();
            (changed, fs::metadata(&path).unwrap().permissions().mode() & 0o777)
        };

        assert_eq!(restricted(0o644), (true, 0o600));
        assert_eq!(restricted(0o640), (false, 0o640));
        assert!(create_empty(&path).is_err());
    }
}
