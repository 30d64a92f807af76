//! Choices that follow from several settings: database, model, demo and secret key.

use std::fs;
use std::path::PathBuf;

use secrecy::{SecretString, zeroize::Zeroizing};
use url::Url;

use super::value::SettingValue;
use super::{Config, ConfigError, Demo, PostgresUrl, SecretKeys};

const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
const OPENAI_MODEL: &str = "gpt-5-mini";

/// The database.
#[derive(Debug, Clone)]
pub enum Database {
    /// Embedded, in this folder.
    Sqlite {
        data_dir: PathBuf,
    },
    Postgres {
        url: SecretString,
    },
}

/// The model of assistants that name none.
#[derive(Debug, Clone)]
pub enum ModelChoice {
    OpenAi {
        base_url: Url,
        key: Option<SecretString>,
        model: String,
    },
    /// The built-in demonstration.
    Offline {
        /// True if `model.kind` says so, false if nothing else was configured.
        is_explicit: bool,
    },
    /// No model; the text names the settings that configure one.
    Missing(&'static str),
}

/// The kind of the model, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// By what else is configured: see `Config::model_choice`.
    Auto,
    /// An OpenAI-compatible endpoint.
    OpenAi,
    /// The built-in demonstration.
    Offline,
}

impl SettingValue for ModelKind {
    const EXPECTED: &'static str = "`auto`, `openai` or `offline`";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "openai" => Some(Self::OpenAi),
            "offline" => Some(Self::Offline),
            _ => None,
        }
    }
}

impl Config {
    /// PostgreSQL if a URL is set, otherwise the embedded database.
    pub fn database(&self) -> Database {
        match &self.database.url {
            Some(PostgresUrl(url)) => Database::Postgres { url: url.clone() },
            None => Database::Sqlite { data_dir: self.data_dir.clone() },
        }
    }

    /// The configured endpoint; without one, the demonstration model on the embedded database.
    pub fn model_choice(&self) -> ModelChoice {
        let has_endpoint = self.model.api_key.is_some() || self.model.base_url.is_some();
        match self.model.kind {
            ModelKind::Offline => ModelChoice::Offline { is_explicit: true },
            ModelKind::OpenAi | ModelKind::Auto if has_endpoint => self.openai_choice(),
            ModelKind::Auto if self.model.model.is_some() => ModelChoice::Missing(
                "OPENAI_MODEL (model.model) is set, so OPENAI_API_KEY (model.api_key) or OPENAI_BASE_URL (model.base_url) \
                 has to be set too",
            ),
            ModelKind::Auto if self.database.url.is_none() => ModelChoice::Offline { is_explicit: false },
            ModelKind::OpenAi | ModelKind::Auto => ModelChoice::Missing(
                "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL and OPENAI_MODEL for another \
                 endpoint, or REJOINDER_MODEL__KIND=offline for the built-in demonstration",
            ),
        }
    }

    fn openai_choice(&self) -> ModelChoice {
        let base_url = self.model.base_url.clone().or_else(|| Url::parse(OPENAI_BASE_URL).ok());
        let is_openai = |url: &Url| url.as_str().trim_end_matches('/') == OPENAI_BASE_URL;
        match (base_url, self.model.model.clone()) {
            (Some(base_url), Some(model)) => {
                ModelChoice::OpenAi { base_url, key: self.model.api_key.clone(), model }
            }
            (Some(base_url), None) if is_openai(&base_url) => ModelChoice::OpenAi {
                base_url,
                key: self.model.api_key.clone(),
                model: OPENAI_MODEL.to_owned(),
            },
            _ => ModelChoice::Missing(
                "OPENAI_BASE_URL (model.base_url) is set, so OPENAI_MODEL (model.model) has to name the model to use there",
            ),
        }
    }

    /// Whether an empty database gets the demo workspace.
    pub fn is_demo_enabled(&self) -> bool {
        match self.demo {
            Demo::On => true,
            Demo::Off => false,
            Demo::Auto => self.database.url.is_none() && self.listen.ip().is_loopback(),
        }
    }

    /// The keys of stored secrets, the current one first, from their setting or their file; `None` if neither is set.
    pub fn read_secret_keys(&self) -> Result<Option<SecretKeys>, ConfigError> {
        let Some(path) = &self.secret_key_file else {
            return Ok(self.secret_key.clone());
        };
        let refused = |message: String| ConfigError::SecretKeyFile { path: path.clone(), message };
        let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        match SecretKeys::parse(&Zeroizing::new(text)) {
            Some(keys) => Ok(Some(keys)),
            None => Err(refused(format!("expected {}", SecretKeys::EXPECTED))),
        }
    }
}
