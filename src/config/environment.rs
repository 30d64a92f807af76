//! Secrets that a workspace file names by their environment variable.

use secrecy::SecretString;

/// The secret in an environment variable; none where it is unset, empty or not UTF-8.
pub fn secret_from_env(name: &str) -> Option<SecretString> {
    let text = std::env::var_os(name)?.into_string().ok()?;
    (!text.is_empty()).then(|| text.into())
}
