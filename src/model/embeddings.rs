//! A client for endpoints with the OpenAI embeddings API. One HTTP request embeds several texts; it is bounded in time
//! and size, and its response is checked against the request. The worker retries, not this module.

mod reader;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::timeout;

use super::openai::http::Patience;
use super::openai::{Connection, Endpoint, HttpClient, SetupError, http};
use crate::domain::chat::{ModelError, ModelErrorKind};
use crate::domain::vector::Vector;
use crate::telemetry::traces::{Span, SpanDescription, content};

/// The largest response: 512 vectors of 4096 numbers as text.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The error of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingsError {
    /// The HTTP call failed.
    #[error("{0}")]
    Call(ModelError),
    #[error("the answer is no list of embeddings")]
    Malformed,
    #[error("{expected} texts were sent, but {actual} embeddings came back")]
    CountMismatch { expected: usize, actual: usize },
    #[error("the embeddings of one answer differ in length")]
    DimensionMismatch,
    /// A zero vector has no direction, and faulty models return infinity.
    #[error("an embedding is empty, zero or not finite")]
    NotFinite,
}

impl EmbeddingsError {
    /// The label of the metric.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind.failure().as_str(),
            Self::Malformed | Self::CountMismatch { .. } | Self::DimensionMismatch | Self::NotFinite => {
                "model_unreadable"
            }
        }
    }

    /// What the endpoint said. It may quote the texts, so it is never logged.
    fn foreign_message(&self) -> Option<&str> {
        match self {
            Self::Call(error) => error.foreign_message(),
            Self::Malformed | Self::CountMismatch { .. } | Self::DimensionMismatch | Self::NotFinite => None,
        }
    }

    /// Whether the endpoint was silent for too long.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Call(error) if error.kind == ModelErrorKind::Timeout)
    }

    /// The delay that the endpoint requested.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(ModelError { kind: ModelErrorKind::RateLimited { retry_after }, .. }) => *retry_after,
            Self::Call(_)
            | Self::Malformed
            | Self::CountMismatch { .. }
            | Self::DimensionMismatch
            | Self::NotFinite => None,
        }
    }
}

/// The address and credentials of an embeddings endpoint.
#[derive(Debug, Clone)]
pub struct EmbeddingsConnection {
    /// Including the version, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Without a key no `Authorization` header is sent.
    pub api_key: Option<SecretString>,
    pub model: String,
}

/// A model that embeds texts. Cheap to clone.
#[derive(Clone)]
pub struct Embedder {
    endpoint: Arc<Endpoint>,
    model: Arc<str>,
}

impl Embedder {
    /// # Errors
    /// If the base URL or the key could never be used.
    pub fn new(client: &HttpClient, settings: EmbeddingsConnection) -> Result<Self, SetupError> {
        // Each call has its own timeout, from its request to the end of the response.
        let connection = Connection {
            idle: Duration::from_hours(1),
            max_body: MAX_BODY,
            ..Connection::new(settings.base_url, settings.api_key)
        };
        let endpoint = Endpoint::new(client, &connection, &["embeddings"], "application/json")?;
        Ok(Self { endpoint: Arc::new(endpoint), model: settings.model.into() })
    }

    /// The name of the model. Only vectors of the same model are comparable.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// One vector for each text, in order, all of one length.
    ///
    /// # Errors
    /// [`EmbeddingsError`]; a timeout after `limit`.
    pub async fn embed(&self, texts: &[&str], limit: Duration) -> Result<Vec<Vector>, EmbeddingsError> {
        let call_error = |error| EmbeddingsError::Call(self.endpoint.describe(error));
        let call = async {
            let body = json!({ "model": &*self.model, "input": texts, "encoding_format": "float" });
            let response =
                http::post(&self.endpoint, body.to_string().into(), None).await.map_err(call_error)?;
            let bytes =
                http::bounded_body(response, Patience::bounded(self.endpoint.idle), self.endpoint.max_body);
            let payload = http::read_to_end(bytes).await.map_err(call_error)?;
            reader::read(&payload, texts.len())
        };
        let span = self.start_span();
        let embedded = span.run(timeout(limit, call)).await;
        let embedded = embedded.unwrap_or_else(|_| Err(call_error(ModelErrorKind::Timeout.into())));
        if let Err(error) = &embedded {
            span.fail(error.as_str());
            if let Some(message) = error.foreign_message().and_then(content) {
                span.set("error.message", message);
            }
        }
        embedded
    }

    fn start_span(&self) -> Span {
        Span::start(SpanKind::Client, || {
            let server = self.endpoint.server();
            let description = SpanDescription::new(format!("embeddings {}", self.model))
                .with("gen_ai.operation.name", "embeddings")
                .with("gen_ai.provider.name", server.provider())
                .with("gen_ai.request.model", self.model.to_string());
            server.describe(description)
        })
    }
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model).finish_non_exhaustive()
    }
}
