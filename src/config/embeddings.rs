//! `[embeddings]`: the endpoint that turns texts into vectors. Without one, documents are searched by their words alone.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::Config;
use super::value::{optional, required};

/// `[embeddings]`. `Config::embeddings_choice` gives what follows of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Embeddings {
    /// Up to the version. `None`: no vectors are made, and none used.
    #[serde(deserialize_with = "optional")]
    pub base_url: Option<Url>,
    /// `None`: no key is sent.
    #[serde(deserialize_with = "optional")]
    pub api_key: Option<SecretString>,
    /// Vectors are compared with those of the same model alone.
    #[serde(deserialize_with = "optional")]
    pub model: Option<String>,
    /// Most passages in one request.
    #[serde(deserialize_with = "required")]
    pub batch: usize,
    /// For a request with passages, to the end of its answer.
    #[serde(deserialize_with = "required")]
    pub timeout: Duration,
    /// For a request with what is searched for, likewise.
    #[serde(deserialize_with = "required")]
    pub query_timeout: Duration,
}

/// The endpoint that is configured.
#[derive(Debug, Clone)]
pub struct EmbeddingsChoice {
    pub base_url: Url,
    pub key: Option<SecretString>,
    pub model: String,
}

impl Config {
    /// The embeddings that are configured; validation saw to it that they are whole.
    #[must_use]
    pub fn embeddings_choice(&self) -> Option<EmbeddingsChoice> {
        let base_url = self.embeddings.base_url.clone()?;
        let model = self.embeddings.model.clone()?;
        Some(EmbeddingsChoice { base_url, key: self.embeddings.api_key.clone(), model })
    }
}
