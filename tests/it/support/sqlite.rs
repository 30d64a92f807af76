//! An SQLite file for one test, copied from a template that is created once for each build of the tests.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::db::Template;

/// The age at which templates of other builds are removed.
const STALE: Duration = Duration::from_hours(24);

/// The folder of the database and of the server's other files.
pub struct Folder(TempDir);

impl Folder {
    pub async fn copy_of(template: &Template) -> Self {
        let template_file = ensure_template(template).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(template_file, folder.path().join("test.sqlite")).expect("the template is copied");
        Self(folder)
    }

    pub async fn copy(&self) -> Self {
        let copy = Self(tempfile::tempdir().expect("a temporary folder"));
        back_up(&self.path(), &copy.path()).await;
        copy
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("test.sqlite")
    }

    pub fn url(&self) -> String {
        url_of(&self.path())
    }
}

/// Makes a backup of a database, also while a server uses it.
pub async fn back_up(file: &Path, copy: &Path) {
    let options = SqliteConnectOptions::from_str(&url_of(file)).expect("a URL");
    let mut connection = options.connect().await.expect("the file opens");
    let statement = format!("vacuum into '{}'", copy.display());
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the copy is made");
    connection.close().await.expect("the connection closes");
}

/// The bytes of the files of a database.
pub fn stored_bytes(file: &Path) -> Vec<u8> {
    let files = ["", "-wal", "-shm", "-journal"].map(|suffix| format!("{}{suffix}", file.display()));
    files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
}

fn url_of(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

/// Returns the path of the template. A process that finds none creates it under another name and renames it, so that no process
/// sees half of it.
async fn ensure_template(template: &Template) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}.template.sqlite", template.versioned_name()));
    if path.exists() {
        return path;
    }
    remove_stale(folder);
    let aside = tempfile::tempdir_in(folder).expect("a temporary folder");
    let file = aside.path().join("template.sqlite");
    std::fs::write(&file, []).expect("an empty file is an empty database");
    (template.migrate)(url_of(&file)).await.expect("the template is migrated");
    let log = std::fs::metadata(file.with_extension("sqlite-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0, "the migration left a connection open: part of the schema is not in the file yet");
    std::fs::rename(&file, &path).expect("the template is put in place");
    path
}

fn remove_stale(folder: &Path) {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|entry| entry.modified()).unwrap_or(now);
        let is_template = entry.file_name().to_string_lossy().ends_with(".template.sqlite");
        if is_template && now.duration_since(modified).is_ok_and(|age| age > STALE) {
            // Another test process may have removed it.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
