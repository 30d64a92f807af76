//! Secrets that a workspace file names by their environment variable, and the path of this program.

use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

use super::variables;

/// The secret in an environment variable, or in the file that the variable with the suffix `_FILE` names; `None` if both
/// are unset or empty.
///
/// # Errors
/// If both are set, or the file is empty or cannot be read.
pub fn secret_from_env(name: &str) -> Result<Option<SecretString>, String> {
    let var = |name: &str| std::env::var_os(name)?.into_string().ok().filter(|text| !text.is_empty());
    let value = var(name);
    let file_variable = format!("{name}{}", variables::FILE_SUFFIX);
    let Some(path) = var(&file_variable) else { return Ok(value.map(SecretString::from)) };
    let text = variables::read_file(&path, value.is_some().then_some(name));
    text.map(|text| Some(text.into())).map_err(|message| format!("{file_variable}: {message}"))
}

/// The path of the running program, to run it as a child. On Linux it names the running binary even after an upgrade
/// replaced the file.
pub fn current_executable() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
