//! The key that seals stored secrets: configured, or, with the embedded database, a file in the data folder.
//!
//! The first process that has a key records a text that it sealed, so that later ones notice another key. A key file is
//! created only while nothing was sealed: a new key cannot open what the former one sealed.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::private_file;
use crate::config::{Config, ConfigError, Database};
use crate::domain::ids::IdGenerator;
use crate::domain::seal::{SealError, SealKey, SealedSecret};
use crate::store::{Db, StoreError, Tenant, seal_check};

const KEY_FILE: &str = "secret.key";

/// The text that is sealed and recorded. Only the key matters.
const CHECK_TEXT: &str = "rejoinder";

/// The error of loading, checking or creating the key.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the secret key file {} cannot be read or created", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "the secret key file {} does not contain 32 bytes in base64: restore it from a backup of the data folder",
        .0.display()
    )]
    Malformed(PathBuf),
    #[error(
        "the secret key of this database is missing: {} does not exist, and neither REJOINDER_SECRET_KEY nor \
         REJOINDER_SECRET_KEY_FILE is set. Restore the file from a backup of the data folder, or set one of the two. {LOST}",
        .0.display()
    )]
    FileMissing(PathBuf),
    #[error(
        "the secret key of this database is missing: set REJOINDER_SECRET_KEY or REJOINDER_SECRET_KEY_FILE to the key \
         that its other processes have. {LOST}"
    )]
    Missing,
    #[error(
        "the secret key in {0} is not the key of this database, so its stored secrets cannot be read: restore the \
         former key from its backup or from another process of this database. {LOST}"
    )]
    Wrong(String),
    #[error(
        "the secret key in {configured} is not the key of this database, but the one in {} is: unset {configured}",
        file.display()
    )]
    KeyFileMatches { configured: String, file: PathBuf },
    #[error(
        "no secret key is configured: generate one with `openssl rand -base64 32`, and set REJOINDER_SECRET_KEY, or \
         REJOINDER_SECRET_KEY_FILE to the path of a file that contains it"
    )]
    NotConfigured,
    #[error("the secret key cannot be used")]
    Seal(#[from] SealError),
    #[error("the secret key cannot be checked")]
    Store(#[from] StoreError),
}

/// The way out without the key, in the texts above.
const LOST: &str = "If the key is lost, `rejoinder migrate --accept-new-secret-key` accepts the current or a new one; the \
    stored secrets of tools and webhook endpoints are lost then: apply the workspace files again, and rotate the \
    secrets of webhook endpoints that the API created";

/// The configured key.
#[derive(Debug)]
struct FoundKey {
    key: SealKey,
    /// Its setting or its file, for messages.
    origin: String,
}

/// Loads the key of a migrated database, and records it. On the embedded database, creates the key if nothing was
/// sealed yet. `None` on PostgreSQL if none is configured, which is an error only if one is recorded, or when a secret
/// must be sealed.
pub async fn load_or_create(
    config: &Config,
    db: &Db,
    ids: &IdGenerator,
) -> Result<Option<SealKey>, SecretKeyError> {
    let Some(key) = check(config, db).await? else {
        return match config.database() {
            Database::Postgres { .. } => Ok(None),
            Database::Sqlite { data_dir } => {
                let key = create(&data_dir, ids)?;
                record(db, &key, ids).await?;
                Ok(Some(key))
            }
        };
    };
    record(db, &key, ids).await?;
    // Another process may have recorded its own key meanwhile.
    check(config, db).await
}

/// The key of a migrated database, which it opens. Changes nothing. `None` if there is no key and none is needed yet.
pub async fn check(config: &Config, db: &Db) -> Result<Option<SealKey>, SecretKeyError> {
    let found = find(config)?;
    let recorded = db.read(Tenant::Process, async |conn| seal_check::find(conn).await).await?;
    let sealed = match recorded {
        Some(recorded) => vec![recorded],
        None => db.read(Tenant::Process, async |conn| seal_check::samples(conn).await).await?,
    };
    match found {
        Some(found) if sealed.is_empty() || sealed.iter().any(|sealed| found.key.opens(sealed)) => {
            Ok(Some(found.key))
        }
        Some(found) => Err(match fitting_file(config, &sealed) {
            Some(file) => SecretKeyError::KeyFileMatches { configured: found.origin, file },
            None => SecretKeyError::Wrong(found.origin),
        }),
        None if sealed.is_empty() => Ok(None),
        None => Err(match config.database() {
            Database::Sqlite { data_dir } => SecretKeyError::FileMissing(key_file(&data_dir)),
            Database::Postgres { .. } => SecretKeyError::Missing,
        }),
    }
}

/// The key file of the embedded database, if it opens what another key does not.
fn fitting_file(config: &Config, sealed: &[SealedSecret]) -> Option<PathBuf> {
    let Database::Sqlite { data_dir } = config.database() else { return None };
    let path = key_file(&data_dir);
    let key = read(&path).ok()??;
    sealed.iter().any(|sealed| key.opens(sealed)).then_some(path)
}

/// The configured key, before there is a database. `None` if there is none.
pub fn check_configured(config: &Config) -> Result<Option<SealKey>, SecretKeyError> {
    Ok(find(config)?.map(|found| found.key))
}

/// Records the current key as that of the database, whichever it was. On the embedded database, creates it if it is
/// missing.
pub async fn accept(config: &Config, db: &Db, ids: &IdGenerator) -> Result<(), SecretKeyError> {
    let key = match (find(config)?, config.database()) {
        (Some(found), _) => found.key,
        (None, Database::Sqlite { data_dir }) => create(&data_dir, ids)?,
        (None, Database::Postgres { .. }) => return Err(SecretKeyError::NotConfigured),
    };
    let sealed = key.seal(&SecretString::from(CHECK_TEXT), ids.bytes())?;
    db.write(Tenant::Process, async |conn| seal_check::replace(conn, &sealed).await).await?;
    Ok(())
}

async fn record(db: &Db, key: &SealKey, ids: &IdGenerator) -> Result<(), SecretKeyError> {
    if db.read(Tenant::Process, async |conn| seal_check::find(conn).await).await?.is_some() {
        return Ok(());
    }
    let sealed = key.seal(&SecretString::from(CHECK_TEXT), ids.bytes())?;
    db.write(Tenant::Process, async |conn| seal_check::insert(conn, &sealed).await).await?;
    Ok(())
}

fn find(config: &Config) -> Result<Option<FoundKey>, SecretKeyError> {
    if let Some(key) = config.read_secret_key()? {
        let origin = match &config.secret_key_file {
            Some(path) => format!("{} (REJOINDER_SECRET_KEY_FILE)", path.display()),
            None => "REJOINDER_SECRET_KEY".to_owned(),
        };
        return Ok(Some(FoundKey { key: SealKey::new(*key.expose_secret()), origin }));
    }
    match config.database() {
        Database::Postgres { .. } => Ok(None),
        Database::Sqlite { data_dir } => {
            let path = key_file(&data_dir);
            let origin = path.display().to_string();
            Ok(read(&path)?.map(|key| FoundKey { key, origin }))
        }
    }
}

/// Its absolute path, since messages name it and a relative one depends on the working directory.
fn key_file(data_dir: &Path) -> PathBuf {
    let path = data_dir.join(KEY_FILE);
    std::path::absolute(&path).unwrap_or(path)
}

fn read(path: &Path) -> Result<Option<SealKey>, SecretKeyError> {
    let text = private_file::read(path);
    let text = text.map_err(|source| SecretKeyError::File { path: path.to_owned(), source })?;
    let Some(text) = text else { return Ok(None) };
    let bytes = STANDARD.decode(text.expose_secret()).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(SealKey::new).map(Some).ok_or_else(|| SecretKeyError::Malformed(path.to_owned()))
}

fn create(data_dir: &Path, ids: &IdGenerator) -> Result<SealKey, SecretKeyError> {
    let path = key_file(data_dir);
    let line = STANDARD.encode(ids.bytes::<32>());
    private_file::write_new(&path, &line, u64::from_ne_bytes(ids.bytes()))
        .map_err(|source| SecretKeyError::File { path: path.clone(), source })?;
    // Read the file again, because another process may have created it first.
    read(&path)?.ok_or(SecretKeyError::FileMissing(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_in_the_data_folder_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = create(folder.path(), &IdGenerator::seeded(1)).unwrap();
        let sealed = first.seal(&SecretString::from("token"), [0; 24]).unwrap();

        let second = create(folder.path(), &IdGenerator::seeded(2)).unwrap();

        assert_eq!(second.open(&sealed).unwrap().expose_secret(), "token");
    }

    #[test]
    fn a_malformed_key_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY_FILE), "short").unwrap();

        let error = create(folder.path(), &IdGenerator::seeded(1)).unwrap_err();

        assert!(matches!(error, SecretKeyError::Malformed(_)), "{error}");
    }
}
