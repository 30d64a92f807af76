//! Any endpoint with the Chat Completions API: one HTTP request for each call, bounded in time and size, and a
//! lenient parser.
//!
//! Requests use the types of async-openai. Its client is not used: it logs bodies, hides `Retry-After`, reads without
//! a limit, and spawns a task for each stream.

mod errors;
pub(super) mod http;
mod probe;
mod reader;
mod request;
mod sse;
#[cfg(test)]
mod tests;
mod tool_schema;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::HeaderValue;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::chat::{ChatRequest, ModelError, ModelErrorKind, ModelErrorMessage, Part};

use http::Patience;
use request::Omitted;

pub use probe::probe;

use super::{ChatModel, PartStream, ServerAddress};

/// The longest message of an endpoint that is kept, in bytes.
const MAX_ERROR_MESSAGE: usize = 500;
/// The models of an endpoint whose refused fields are remembered.
const MAX_REMEMBERED: usize = 64;
/// Shorter parts of a URL are no secrets.
const MIN_SECRET: usize = 8;

/// The address, credentials and limits of an endpoint.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Including the version, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Without a key no `Authorization` header is sent.
    pub api_key: Option<SecretString>,
    /// From the request to the head of the response, including the connection.
    pub first_byte: Duration,
    /// The longest time without a complete new line in a response.
    pub idle: Duration,
    /// The largest response, in bytes.
    pub max_body: usize,
}

impl Connection {
    pub fn new(base_url: impl Into<String>, api_key: Option<SecretString>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key,
            first_byte: Duration::from_secs(20),
            idle: Duration::from_secs(15),
            max_body: 4 * 1024 * 1024,
        }
    }
}

/// Why a connection cannot be set up. Contains no key and no address.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the base URL must be an http or https URL")]
    BaseUrl,
    #[error("the API key has characters that cannot be sent in a header")]
    ApiKey,
    #[error("the HTTP client could not be built")]
    Client(#[source] reqwest::Error),
}

/// The HTTP client that all connections share, with its certificates.
#[derive(Clone)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// `connect` limits the time to connect.
    ///
    /// # Errors
    /// [`SetupError::Client`]. Missing system certificates are no error: the client has its own.
    pub fn new(connect: Duration) -> Result<Self, SetupError> {
        http::build_client(connect).map(Self).map_err(SetupError::Client)
    }
}

/// A Chat Completions endpoint.
pub struct OpenAi {
    endpoint: Arc<Endpoint>,
    /// The fields that an endpoint has refused, for each of its models.
    omitted: Arc<Mutex<HashMap<String, Omitted>>>,
}

/// One route of a connection.
pub(super) struct Endpoint {
    client: reqwest::Client,
    url: Url,
    authorization: Option<HeaderValue>,
    /// The `Accept` header.
    accept: &'static str,
    first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) max_body: usize,
}

impl Endpoint {
    /// The route at `path` below the base URL of the connection.
    pub(super) fn new(
        client: &HttpClient,
        connection: &Connection,
        path: &[&str],
        accept: &'static str,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            client: client.0.clone(),
            url: join_url(&connection.base_url, path)?,
            authorization: connection.api_key.as_ref().map(bearer).transpose()?,
            accept,
            first_byte: connection.first_byte,
            idle: connection.idle,
            max_body: connection.max_body,
        })
    }
}

impl Endpoint {
    pub(super) fn server(&self) -> ServerAddress {
        ServerAddress::of(&self.url)
    }

    /// Names the endpoint in an error, and removes its secrets from what it said.
    pub(super) fn describe(&self, mut error: ModelError) -> ModelError {
        let detail = error.detail.get_or_insert_default();
        detail.url = display_url(&self.url);
        let secrets = self.secrets();
        let masked = |text: &mut String| {
            for secret in &secrets {
                *text = text.replace(secret.as_str(), "[key]");
            }
        };
        let url = std::iter::once(&mut detail.url);
        let message = detail.message.as_mut().map(ModelErrorMessage::expose_mut);
        url.chain(&mut detail.code).chain(message).for_each(masked);
        if let Some(message) = detail.message.as_mut().map(ModelErrorMessage::expose_mut) {
            message.truncate(message.floor_char_boundary(MAX_ERROR_MESSAGE));
        }
        error
    }

    /// The key, and the parts of the URL that may be one.
    fn secrets(&self) -> Vec<String> {
        let key = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let of_query = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let of_user = [self.url.username(), self.url.password().unwrap_or_default()].map(str::to_owned);
        let of_url = of_query.chain(of_user).filter(|part| part.len() >= MIN_SECRET);
        let key = key.filter(|key| !key.is_empty()).map(str::to_owned);
        key.into_iter().chain(of_url).collect()
    }
}

impl OpenAi {
    /// # Errors
    /// If the base URL or the key could never be used.
    pub fn new(client: &HttpClient, connection: &Connection) -> Result<Self, SetupError> {
        let accept = "text/event-stream, application/json";
        let endpoint = Endpoint::new(client, connection, &["chat", "completions"], accept)?;
        Ok(Self { endpoint: Arc::new(endpoint), omitted: Arc::default() })
    }
}

impl ChatModel for OpenAi {
    fn start(&self, request: ChatRequest) -> PartStream {
        let endpoint = Arc::clone(&self.endpoint);
        let (caller, omitted) = (Arc::clone(&endpoint), Arc::clone(&self.omitted));
        stream::once(async move { call(&caller, request, &omitted).await })
            .try_flatten()
            .map_err(move |error| endpoint.describe(error))
            .boxed()
    }

    fn describe(&self, error: ModelError) -> ModelError {
        self.endpoint.describe(error)
    }

    fn server(&self) -> Option<ServerAddress> {
        Some(self.endpoint.server())
    }
}

async fn call(
    endpoint: &Endpoint,
    request: ChatRequest,
    omitted: &Mutex<HashMap<String, Omitted>>,
) -> Result<PartStream, ModelError> {
    let names: HashMap<String, String> =
        request.tools.iter().map(|tool| (tool_schema::name(&tool.name), tool.name.clone())).collect();
    let parts = read_without_refused(endpoint, request, omitted).await?;
    Ok(parts.map_ok(move |part| with_own_name(part, &names)).boxed())
}

/// A call under the name that its tool has here.
fn with_own_name(mut part: Part, names: &HashMap<String, String>) -> Part {
    if let Part::Call { name: Some(name), .. } = &mut part
        && let Some(own) = names.get(name)
    {
        name.clone_from(own);
    }
    part
}

/// Asks once more without the fields that the endpoint seems to refuse, and remembers them if that helps.
async fn read_without_refused(
    endpoint: &Endpoint,
    request: ChatRequest,
    remembered: &Mutex<HashMap<String, Omitted>>,
) -> Result<PartStream, ModelError> {
    let lock = || remembered.lock().unwrap_or_else(PoisonError::into_inner);
    let model = request.model.clone();
    let omitted = lock().get(&model).copied().unwrap_or_default();
    let can_omit_fields = !omitted.vendor_fields && request::has_vendor_fields(&request);
    let error = match read(endpoint, &request, omitted).await {
        Ok(parts) => return Ok(parts),
        Err(error) => error,
    };
    let without = Omitted {
        stream_options: omitted.stream_options || refuses_field(&error, "stream_options"),
        vendor_fields: omitted.vendor_fields || can_omit_fields && is_invalid(&error),
    };
    if without == omitted {
        return Err(error);
    }
    // The first error says more than a second one.
    let Ok(parts) = read(endpoint, &request, without).await else { return Err(error) };
    let first = endpoint.describe(error);
    tracing::warn!(
        model.name = model,
        fields = ?without,
        error = &first as &dyn std::error::Error,
        "a model accepts a request only without some fields, which are omitted from now on"
    );
    let mut remembered = lock();
    if remembered.len() < MAX_REMEMBERED || remembered.contains_key(&model) {
        remembered.insert(model, without);
    }
    Ok(parts)
}

/// Whether an endpoint refused a request as invalid.
fn is_invalid(error: &ModelError) -> bool {
    let status = error.detail.as_ref().and_then(|detail| detail.status);
    error.kind == ModelErrorKind::Refused && matches!(status, Some(400 | 422))
}

/// Whether an endpoint refused this field: it names the field, or says nothing at all.
fn refuses_field(error: &ModelError, field: &str) -> bool {
    let Some(detail) = error.detail.as_deref().filter(|_| is_invalid(error)) else { return false };
    let says_nothing = detail.message.is_none() && detail.code.is_none() && detail.status == Some(422);
    let message = detail.message.as_ref().map(ModelErrorMessage::expose);
    says_nothing || [message, detail.code.as_deref()].into_iter().flatten().any(|text| text.contains(field))
}

async fn read(
    endpoint: &Endpoint,
    request: &ChatRequest,
    omitted: Omitted,
) -> Result<PartStream, ModelError> {
    let has_fallback = request.has_fallback;
    let first_byte = Some(endpoint.first_byte).filter(|_| has_fallback);
    let body = request::encode(request, omitted)?;
    let response = http::post(endpoint, body, first_byte).await?;
    let is_event_stream = http::is_event_stream(&response);
    let patience = Patience::new(first_byte, Some(endpoint.idle).filter(|_| has_fallback));
    let bytes = http::bounded_body(response, patience.clone(), endpoint.max_body);

    if is_event_stream {
        return Ok(sse::read(bytes, patience));
    }
    // Endpoints that ignore `stream: true` send one JSON object; endpoints that omit the content type may send
    // either.
    let body = http::read_to_end(bytes).await?;
    if body.trim_ascii_start().starts_with(b"{") {
        let parts = reader::read_completion(&body)?;
        Ok(stream::iter(parts).map(Ok).boxed())
    } else {
        Ok(sse::read(stream::iter([Ok(body.into())]).boxed(), patience))
    }
}

fn join_url(base_url: &str, path: &[&str]) -> Result<Url, SetupError> {
    let mut url = Url::parse(base_url.trim()).map_err(|_| SetupError::BaseUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SetupError::BaseUrl);
    }
    url.path_segments_mut().map_err(|()| SetupError::BaseUrl)?.pop_if_empty().extend(path);
    Ok(url)
}

/// A URL without user name, password and query, which may contain a key.
fn display_url(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

fn bearer(key: &SecretString) -> Result<HeaderValue, SetupError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret().trim()))
        .map_err(|_| SetupError::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}
