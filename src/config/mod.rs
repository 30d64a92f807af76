//! The configuration: one struct for each section, read from the embedded `config/default.toml`, a file and the
//! environment; later sources override earlier ones. No other module reads the environment.

mod choice;
mod embeddings;
mod environment;
mod error;
mod layers;
mod model;
mod server;
mod telemetry;
mod validate;
mod value;
mod variables;
mod work;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

pub use choice::{Database, ModelChoice, ModelKind};
pub use embeddings::{Embeddings, EmbeddingsChoice};
pub use environment::{current_executable, has_variable, secret_from_env, unusable_certificate_file};
pub use error::{ConfigError, Origin};
pub use model::{Connection, Model};
pub use server::{DatabaseSection, Demo, Http, Log, LogFormat, Operator, Store};
pub use telemetry::{CaptureContent, Telemetry, TraceExport};
pub use value::{ByteSize, PostgresUrl, Rate, SecretKeys, parse_secret_keys};
pub use work::{Audit, Events, Limits, Outbound, Turn, Webhooks, Widget};

use layers::Layers;
use value::{optional, required};

/// The reference manual of the settings, and their defaults.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The file that is read if it exists and none is named.
const DEFAULT_FILE: &str = "rejoinder.toml";

/// All settings; `config/default.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    #[serde(deserialize_with = "required")]
    pub listen: SocketAddr,
    /// Folder of the embedded database and the demo key.
    #[serde(deserialize_with = "required")]
    pub data_dir: PathBuf,
    /// The address under which clients reach this server. `None`: derived from `listen`.
    #[serde(deserialize_with = "optional")]
    pub public_url: Option<Url>,
    /// For running turns, after SIGTERM.
    #[serde(deserialize_with = "required")]
    pub shutdown_grace: Duration,
    /// See [`Config::is_demo_enabled`].
    #[serde(deserialize_with = "required")]
    pub demo: Demo,
    /// See [`Config::read_secret_keys`].
    #[serde(deserialize_with = "optional")]
    pub secret_key: Option<SecretKeys>,
    /// See [`Config::read_secret_keys`].
    #[serde(deserialize_with = "optional")]
    pub secret_key_file: Option<PathBuf>,
    pub database: DatabaseSection,
    pub store: Store,
    pub turn: Turn,
    pub widget: Widget,
    pub events: Events,
    pub model: Model,
    /// By name. `default` is the endpoint of `[model]` and not in this map.
    pub connections: BTreeMap<String, Connection>,
    pub embeddings: Embeddings,
    pub outbound: Outbound,
    pub webhooks: Webhooks,
    pub audit: Audit,
    pub limits: Limits,
    pub http: Http,
    pub operator: Operator,
    pub log: Log,
    pub telemetry: Telemetry,
}

impl Config {
    /// Reads `file` (or `./rejoinder.toml` if it exists) and the environment of this process.
    pub fn from_process(file: Option<&Path>) -> Result<Self, ConfigError> {
        let default_file = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default_file.is_file().then_some(default_file));
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self::load(file, std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Merges `file` and `env` over the defaults. Reads only `file` and the files that variables name (`…_FILE`).
    ///
    /// # Errors
    /// The error names the first setting that does not exist, does not parse or contradicts another, and where it was
    /// written.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::defaults()?;
        if let Some(path) = file {
            layers.merge_file(path)?;
        }
        layers.merge_environment(env)?;
        let config: Self = layers.read()?;
        config.validate().map_err(|(setting, message)| layers.error(setting, message))?;
        Ok(config)
    }
}
