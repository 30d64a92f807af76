//! The key that seals stored secrets: configured, or, with the embedded database, created once in the data folder.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use super::private_file;
use crate::config::{Config, ConfigError, Database};
use crate::domain::ids::IdGenerator;
use crate::domain::seal::SealKey;

const KEY_FILE: &str = "secret.key";

/// The error of loading or creating the key.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the secret key file {} cannot be read or created", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the secret key file {} does not contain 32 bytes in base64", .0.display())]
    Malformed(PathBuf),
}

/// The key. `None` on PostgreSQL if none is configured, which is an error only when a secret must be sealed or opened.
pub fn load_or_create(config: &Config, ids: &IdGenerator) -> Result<Option<SealKey>, SecretKeyError> {
    if let Some(key) = config.read_secret_key()? {
        return Ok(Some(SealKey::new(*key.expose_secret())));
    }
    match config.database() {
        Database::Postgres { .. } => Ok(None),
        Database::Sqlite { data_dir } => load_or_create_in(&data_dir, ids).map(Some),
    }
}

fn load_or_create_in(data_dir: &Path, ids: &IdGenerator) -> Result<SealKey, SecretKeyError> {
    let path = data_dir.join(KEY_FILE);
    let file_error = |source| SecretKeyError::File { path: path.clone(), source };
    let mut text = private_file::read(&path).map_err(file_error)?;
    if text.is_none() {
        let line = STANDARD.encode(ids.bytes::<32>());
        private_file::write_new(&path, &line, u64::from_ne_bytes(ids.bytes())).map_err(file_error)?;
        // Read the file again, because another process may have created it first.
        text = private_file::read(&path).map_err(file_error)?;
    }
    let bytes = text.and_then(|text| STANDARD.decode(text.expose_secret()).ok());
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(SealKey::new).ok_or(SecretKeyError::Malformed(path))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn the_key_in_the_data_folder_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create_in(folder.path(), &IdGenerator::seeded(1)).unwrap();
        let sealed = first.seal(&SecretString::from("token"), [0; 24]).unwrap();

        let second = load_or_create_in(folder.path(), &IdGenerator::seeded(2)).unwrap();

        assert_eq!(second.open(&sealed).unwrap().expose_secret(), "token");
    }

    #[test]
    fn a_malformed_key_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY_FILE), "short").unwrap();

        let error = load_or_create_in(folder.path(), &IdGenerator::seeded(1)).unwrap_err();

        assert!(matches!(error, SecretKeyError::Malformed(_)), "{error}");
    }
}
