//! Secrets that a workspace file names by their environment variable, and the path of this program.

use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

/// The secret in an environment variable; none if it is unset, empty or not UTF-8.
pub fn secret_from_env(name: &str) -> Option<SecretString> {
    let text = std::env::var_os(name)?.into_string().ok()?;
    (!text.is_empty()).then(|| text.into())
}

/// The path of the running program, to run it as a child. On Linux it names the running binary even after an upgrade
/// replaced the file.
pub fn current_executable() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
