//! Secrets that a workspace file names by their environment variable, and where this program is.

use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

/// The secret in an environment variable; none where it is unset, empty or not UTF-8.
pub fn secret_from_env(name: &str) -> Option<SecretString> {
    let text = std::env::var_os(name)?.into_string().ok()?;
    (!text.is_empty()).then(|| text.into())
}

/// The file of the program that runs, to be run as a child. On Linux that is the very one, though another has taken
/// its place meanwhile.
pub fn current_executable() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
