//! `[embeddings]`: the endpoint that embeds texts. Without one, documents are searched by their words only.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::Config;
use super::value::{optional, required};

/// `[embeddings]`. `Config::embeddings_choice` gives the resulting choice.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Embeddings {
    /// Including the version. `None`: no vectors are made or used.
    #[serde(deserialize_with = "optional")]
    pub base_url: Option<Url>,
    /// `None`: no key is sent.
    #[serde(deserialize_with = "optional")]
    pub api_key: Option<SecretString>,
    /// Only vectors of the same model are compared.
    #[serde(deserialize_with = "optional")]
    pub model: Option<String>,
    /// Most passages in one request.
    #[serde(deserialize_with = "required")]
    pub batch: usize,
    /// For a request with passages, to the end of the response.
    #[serde(deserialize_with = "required")]
    pub timeout: Duration,
    /// For a request with a query, to the end of the response.
    #[serde(deserialize_with = "required")]
    pub query_timeout: Duration,
}

/// The configured endpoint.
#[derive(Debug, Clone)]
pub struct EmbeddingsChoice {
    pub base_url: Url,
    pub key: Option<SecretString>,
    pub model: String,
}

impl Config {
    /// The configured embeddings; validation ensures that they are complete.
    #[must_use]
    pub fn embeddings_choice(&self) -> Option<EmbeddingsChoice> {
        let base_url = self.embeddings.base_url.clone()?;
        let model = self.embeddings.model.clone()?;
        Some(EmbeddingsChoice { base_url, key: self.embeddings.api_key.clone(), model })
    }
}
