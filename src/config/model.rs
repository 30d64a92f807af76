//! Sections about models: the default endpoint and its bounds, and further named connections.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::ModelKind;
use super::value::{ByteSize, optional, required};

/// `[model]`: the default endpoint, and bounds of all endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Model {
    /// The kind of the model.
    #[serde(deserialize_with = "required")]
    pub kind: ModelKind,
    /// Including the version. `None`: `https://api.openai.com/v1`.
    #[serde(deserialize_with = "optional")]
    pub base_url: Option<Url>,
    /// `None`: no key is sent.
    #[serde(deserialize_with = "optional")]
    pub api_key: Option<SecretString>,
    /// The model of assistants that name none; see `Config::model_choice` for the default.
    #[serde(deserialize_with = "optional")]
    pub model: Option<String>,
    /// Concurrent calls of this process.
    #[serde(deserialize_with = "optional")]
    pub max_in_flight: Option<usize>,
    /// To connect.
    #[serde(deserialize_with = "required")]
    pub connect_timeout: Duration,
    /// From the request to the first byte of a streamed response.
    #[serde(deserialize_with = "required")]
    pub first_byte_timeout: Duration,
    /// Between two parts of a streamed response.
    #[serde(deserialize_with = "required")]
    pub idle_timeout: Duration,
    /// The largest response.
    #[serde(deserialize_with = "required")]
    pub max_body: ByteSize,
    /// The model begins with thoughts, without an opening tag.
    #[serde(deserialize_with = "required")]
    pub begins_with_thoughts: bool,
    /// Messages of history that are sent.
    #[serde(deserialize_with = "required")]
    pub history_messages: usize,
    /// Estimated tokens of history that are sent.
    #[serde(deserialize_with = "required")]
    pub history_tokens: usize,
}

/// `[connections.NAME]`: a further endpoint, for assistants' fallbacks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Connection {
    /// Including the version.
    #[serde(deserialize_with = "required")]
    pub base_url: Url,
    /// `None`: no key is sent.
    #[serde(default, deserialize_with = "optional")]
    pub api_key: Option<SecretString>,
    /// Its models begin with thoughts, without an opening tag.
    #[serde(default, deserialize_with = "optional")]
    pub begins_with_thoughts: Option<bool>,
}
