//! Secrets that a workspace file names by their environment variable, and the path of this program.

use std::fs;
use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

use super::variables;
use crate::domain::server_variable::FILE_SUFFIX;

/// The secret in an environment variable, or in the file that the variable with the suffix `_FILE` names; `None` if both
/// are unset or empty.
///
/// # Errors
/// If both are set, or the file is empty or cannot be read.
pub fn secret_from_env(name: &str) -> Result<Option<SecretString>, String> {
    let var = |name: &str| std::env::var_os(name)?.into_string().ok().filter(|text| !text.is_empty());
    let value = var(name);
    let file_variable = format!("{name}{FILE_SUFFIX}");
    let Some(path) = var(&file_variable) else { return Ok(value.map(SecretString::from)) };
    let text = variables::read_file(&path, value.is_some().then_some(name));
    text.map(|text| Some(text.into())).map_err(|message| format!("{file_variable}: {message}"))
}

/// Why the certificate authorities of `SSL_CERT_FILE` are not trusted. The TLS library, which reads the variable,
/// ignores a file that it cannot use.
pub fn unusable_certificate_file() -> Option<String> {
    const VARIABLE: &str = "SSL_CERT_FILE";
    let path = PathBuf::from(std::env::var_os(VARIABLE).filter(|path| !path.is_empty())?);
    match fs::read_to_string(&path) {
        Ok(text) if text.contains("BEGIN CERTIFICATE") => None,
        Ok(_) => Some(format!("{VARIABLE}: {} contains no PEM certificate", path.display())),
        Err(error) => Some(format!("{VARIABLE}: cannot read {}: {error}", path.display())),
    }
}

/// Whether this process has a variable of this name.
pub fn has_variable(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

/// The path of the running program, to run it as a child. On Linux it names the running binary even after an upgrade
/// replaced the file.
pub fn current_executable() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
