//! The keys that seal stored secrets: configured, or, with the embedded database, a file in the data folder.
//!
//! Each process records its current key with a text that it sealed, so that later ones notice that they lack a key. A key file is
//! created only while no key is recorded: a new key cannot open what the former one sealed.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::private_file;
use crate::config::{Config, ConfigError, Database, SecretKeys, parse_secret_keys};
use crate::domain::ids::IdGenerator;
use crate::domain::seal::{SealError, SealKey, SealKeyId, SealKeys, SealedSecret, SecretContext};
use crate::store::seal_keys::{self, KeyRecord};
use crate::store::{Conn, Db, StoreError, Tenant};

const KEY_FILE: &str = "secret.key";

/// The text that is sealed and recorded. Only the keys matter.
const CHECK_TEXT: &str = "rejoinder";

/// The error of loading, checking or creating the key.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the secret key file {} cannot be read or created", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "the secret key file {} does not contain 32 bytes in base64 (nor several such keys): restore it from a backup of the data \
         folder",
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
        "{origin} lacks the key {key}, with which secrets of this database may be encrypted: add it after the current one. Run \
         `rejoinder reencrypt` before you remove a key. {LOST}"
    )]
    KeyMissing { origin: String, key: String },
    #[error(
        "the secrets of this database were encrypted by an older version, in a form that this one does not read: stop all processes, run \
         `rejoinder migrate --accept-new-secret-key`, apply the workspace files again, and rotate the secrets of webhook endpoints that \
         the API created"
    )]
    Former,
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

/// The configured keys.
#[derive(Debug)]
struct FoundKeys {
    keys: SealKeys,
    /// Their setting or their file, for messages.
    origin: String,
}

/// Loads the keys of a migrated database, and records the current one. On the embedded database, creates one if none is
/// recorded. `None` on PostgreSQL if none is configured, which is an error only if one is recorded, or when a secret
/// must be sealed.
pub async fn load_or_create(
    config: &Config,
    db: &Db,
    ids: &IdGenerator,
) -> Result<Option<SealKeys>, SecretKeyError> {
    let keys = match (check(config, db).await?, config.database()) {
        (Some(keys), _) => keys,
        (None, Database::Postgres { .. }) => return Ok(None),
        (None, Database::Sqlite { data_dir }) => create(&data_dir, ids)?,
    };
    record(db, &keys, ids).await?;
    // Another process may have recorded its own key meanwhile.
    check(config, db).await
}

/// Fails if an older version has stored secrets in a form that this one does not read. Before a migration, because the older version no
/// longer starts after it.
pub async fn refuse_former_secrets(db: &Db) -> Result<(), SecretKeyError> {
    let has_former = async |conn: Conn<'_>| seal_keys::has_former_secrets(conn).await;
    if db.read(Tenant::Process, has_former).await? { Err(SecretKeyError::Former) } else { Ok(()) }
}

/// The keys of a database, all of which they contain. Changes nothing. `None` if there is no key and none is needed yet.
pub async fn check(config: &Config, db: &Db) -> Result<Option<SealKeys>, SecretKeyError> {
    let found = find(config)?;
    refuse_former_secrets(db).await?;
    let records = db.read(Tenant::Process, async |conn| seal_keys::list(conn).await).await?;
    if records.iter().any(|record| record.key_id == seal_keys::FORMER) {
        return Err(SecretKeyError::Former);
    }
    let Some(FoundKeys { keys, origin }) = found else {
        if records.is_empty() {
            return Ok(None);
        }
        return match config.database() {
            Database::Sqlite { data_dir } => Err(SecretKeyError::FileMissing(key_file(&data_dir))),
            Database::Postgres { .. } => Err(SecretKeyError::Missing),
        };
    };
    let missing = records.iter().find(|record| !opens(&keys, record));
    let Some(missing) = missing.map(|record| record.key_id.clone()) else { return Ok(Some(keys)) };
    if records.iter().any(|record| opens(&keys, record)) {
        return Err(SecretKeyError::KeyMissing { origin, key: missing });
    }
    Err(match fitting_file(config, &records) {
        Some(file) => SecretKeyError::KeyFileMatches { configured: origin, file },
        None => SecretKeyError::Wrong(origin),
    })
}

fn opens(keys: &SealKeys, record: &KeyRecord) -> bool {
    keys.open(&SecretContext::KEY_RECORD, &record.sealed).is_ok()
}

/// The key file of the embedded database, if it opens what other keys do not.
fn fitting_file(config: &Config, records: &[KeyRecord]) -> Option<PathBuf> {
    let Database::Sqlite { data_dir } = config.database() else { return None };
    let path = key_file(&data_dir);
    let keys = read(&path).ok()??;
    records.iter().all(|record| opens(&keys, record)).then_some(path)
}

/// The configured keys, before there is a database. `None` if there are none.
pub fn check_configured(config: &Config) -> Result<Option<SealKeys>, SecretKeyError> {
    Ok(find(config)?.map(|found| found.keys))
}

/// Records the current key as the only one of the database, whichever it had. On the embedded database, creates it if it is
/// missing.
pub async fn accept(config: &Config, db: &Db, ids: &IdGenerator) -> Result<(), SecretKeyError> {
    let keys = match (find(config)?, config.database()) {
        (Some(found), _) => found.keys,
        (None, Database::Sqlite { data_dir }) => create(&data_dir, ids)?,
        (None, Database::Postgres { .. }) => return Err(SecretKeyError::NotConfigured),
    };
    let (key, sealed) = (keys.current_id(), seal_record(&keys, ids)?);
    db.write(Tenant::Process, async |conn| replace_records(conn, key, &sealed).await).await?;
    Ok(())
}

async fn replace_records(
    mut conn: Conn<'_>,
    key: &SealKeyId,
    sealed: &SealedSecret,
) -> Result<(), StoreError> {
    seal_keys::lock(conn.reborrow()).await?;
    seal_keys::delete_others(conn.reborrow(), key).await?;
    seal_keys::insert(conn, key, sealed).await
}

/// Records the current key, unless a key is recorded that these do not contain.
async fn record(db: &Db, keys: &SealKeys, ids: &IdGenerator) -> Result<(), SecretKeyError> {
    let key = keys.current_id();
    let records = db.read(Tenant::Process, async |conn| seal_keys::list(conn).await).await?;
    if records.iter().any(|record| record.key_id == key.as_str()) {
        return Ok(());
    }
    let sealed = seal_record(keys, ids)?;
    db.write(Tenant::Process, async |conn| insert_record(conn, keys, &sealed).await).await?;
    Ok(())
}

async fn insert_record(mut conn: Conn<'_>, keys: &SealKeys, sealed: &SealedSecret) -> Result<(), StoreError> {
    seal_keys::lock(conn.reborrow()).await?;
    let records = seal_keys::list(conn.reborrow()).await?;
    if records.iter().all(|record| opens(keys, record)) {
        seal_keys::insert(conn, keys.current_id(), sealed).await?;
    }
    Ok(())
}

fn seal_record(keys: &SealKeys, ids: &IdGenerator) -> Result<SealedSecret, SealError> {
    keys.seal(&SecretContext::KEY_RECORD, &SecretString::from(CHECK_TEXT), ids.bytes())
}

fn find(config: &Config) -> Result<Option<FoundKeys>, SecretKeyError> {
    if let Some(keys) = config.read_secret_keys()? {
        let origin = match &config.secret_key_file {
            Some(path) => format!("{} (REJOINDER_SECRET_KEY_FILE)", path.display()),
            None => "REJOINDER_SECRET_KEY".to_owned(),
        };
        return Ok(seal_keys_of(&keys).map(|keys| FoundKeys { keys, origin }));
    }
    match config.database() {
        Database::Postgres { .. } => Ok(None),
        Database::Sqlite { data_dir } => {
            let path = key_file(&data_dir);
            let origin = path.display().to_string();
            Ok(read(&path)?.map(|keys| FoundKeys { keys, origin }))
        }
    }
}

/// The first key is the current one.
fn seal_keys_of(keys: &SecretKeys) -> Option<SealKeys> {
    let mut keys = keys.iter().map(|key| SealKey::new(*key.expose_secret()));
    Some(SealKeys::new(keys.next()?, keys.collect()))
}

/// Its absolute path, since messages name it and a relative one depends on the working directory.
fn key_file(data_dir: &Path) -> PathBuf {
    let path = data_dir.join(KEY_FILE);
    std::path::absolute(&path).unwrap_or(path)
}

fn read(path: &Path) -> Result<Option<SealKeys>, SecretKeyError> {
    let text = private_file::read(path);
    let text = text.map_err(|source| SecretKeyError::File { path: path.to_owned(), source })?;
    let Some(text) = text else { return Ok(None) };
    let keys = parse_secret_keys(text.expose_secret()).and_then(|keys| seal_keys_of(&keys));
    keys.map(Some).ok_or_else(|| SecretKeyError::Malformed(path.to_owned()))
}

fn create(data_dir: &Path, ids: &IdGenerator) -> Result<SealKeys, SecretKeyError> {
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

        let second = create(folder.path(), &IdGenerator::seeded(2)).unwrap();

        assert_eq!(first.current_id(), second.current_id());
    }

    #[test]
    fn a_malformed_key_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY_FILE), "short").unwrap();

        let error = create(folder.path(), &IdGenerator::seeded(1)).unwrap_err();

        assert!(matches!(error, SecretKeyError::Malformed(_)), "{error}");
    }
}
