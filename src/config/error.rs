//! Configuration errors: the setting, where it was written, what was expected. No text shows a value, which may be a
//! secret.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// An invalid configuration. The text names the setting and where it was written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file is not TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    /// The file of the secret key cannot be used.
    #[error("`secret_key_file` (REJOINDER_SECRET_KEY_FILE) names {}: {message}", path.display())]
    SecretKeyFile { path: PathBuf, message: String },
    /// A setting does not exist, does not parse, or contradicts another.
    #[error("setting `{setting}` ({origin}): {message}")]
    Setting { setting: String, origin: Origin, message: String },
}

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in `default.toml`.
    Default,
    /// A configuration file; lines count from 1.
    File { path: PathBuf, line: usize },
    /// An environment variable, by its name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}
