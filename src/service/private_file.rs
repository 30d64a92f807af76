//! The data folder and the secret files in it, readable only by their owner. A file is written completely or not at all,
//! and an existing file is never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use secrecy::SecretString;

/// Creates a folder and its parents. An existing folder keeps its permissions.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let is_new = !path.exists();
    private_dir(DirBuilder::new().recursive(true)).create(path)?;
    if is_new {
        give_to_owner_of_folder(&File::open(path)?, path);
    }
    Ok(())
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
    create(path).map(drop)
}

/// Opens a file to lock it, and creates it if it does not exist.
pub fn open_lock_file(path: &Path) -> io::Result<File> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path)
        }
        created => created,
    }
}

/// Creates a file that only its owner can use.
fn create(path: &Path) -> io::Result<File> {
    let file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
    give_to_owner_of_folder(&file, path);
    Ok(file)
}

/// A file or folder that root makes belongs to the owner of its folder: the user of the server, who could not open it otherwise.
#[cfg(unix)]
fn give_to_owner_of_folder(file: &File, path: &Path) {
    use std::os::unix::fs::{MetadataExt, fchown};

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let (Ok(file_metadata), Ok(folder)) = (file.metadata(), fs::metadata(folder))
        && file_metadata.uid() != folder.uid()
    {
        // Others than root may not, and then the file is theirs.
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

#[cfg(not(unix))]
fn give_to_owner_of_folder(_file: &File, _path: &Path) {}

/// The user of a file, and the other user of its folder, who is not root and cannot open the file.
#[cfg(unix)]
pub fn other_owner(path: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;

    let owner = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.uid());
    let owners = (owner(path)?, owner(path.parent()?)?);
    (owners.0 != owners.1 && owners.1 != 0).then_some(owners)
}

#[cfg(not(unix))]
pub fn other_owner(_path: &Path) -> Option<(u32, u32)> {
    None
}

/// If everyone can read or write the file, removes all access of others than its owner. Returns whether it did.
#[cfg(unix)]
pub fn restrict(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;

    const OF_OTHERS: u32 = 0o007;
    // Not of a link, which may lead to a file elsewhere.
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut permissions = metadata.permissions();
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
    let mut file = create(draft)?;
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
    fn a_file_that_root_makes_belongs_to_the_owner_of_its_folder() {
        use std::os::unix::fs::{MetadataExt, chown};

        let dir = tempfile::tempdir().unwrap();
        if chown(dir.path(), Some(12_345), Some(12_346)).is_err() {
            return; // Only root can give files away.
        }
        let path = |name: &str| dir.path().join(name);

        create_empty(&path("rejoinder.db")).unwrap();
        drop(open_lock_file(&path("rejoinder.lock")).unwrap());
        write_new(&path("secret.key"), "key", 1).unwrap();
        fs::write(path("other"), "").unwrap();

        for name in ["rejoinder.db", "rejoinder.lock", "secret.key"] {
            let metadata = fs::metadata(path(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12_345, 12_346), "{name}");
            assert_eq!(other_owner(&path(name)), None);
        }
        let (user, owner) = other_owner(&path("other")).unwrap();
        assert_eq!((user == 12_345, owner), (false, 12_345));
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
