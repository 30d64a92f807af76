//! Sends batches of spans to the collector, and logs once that it cannot.

use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Runtime;

/// The largest response that is read.
const MAX_RESPONSE: usize = 64 * 1024;

/// The HTTP client of the exporter's thread. Its runtime is its own, so that the server's may end at any time.
#[derive(Debug)]
pub(super) struct Collector {
    timeout: Duration,
    connection: OnceLock<(Runtime, reqwest::Client)>,
    /// The last export failed, and that was logged.
    is_failing: AtomicBool,
}

impl Collector {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, connection: OnceLock::new(), is_failing: AtomicBool::new(false) }
    }

    /// Created in the exporter's thread, where a runtime may block and be dropped.
    fn connection(&self) -> Result<&(Runtime, reqwest::Client), HttpError> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = (runtime, build_client()?);
        Ok(self.connection.get_or_init(|| connection))
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (runtime, client) = self.connection()?;
        let exchange = exchange(client, request);
        runtime.block_on(async { tokio::time::timeout(self.timeout, exchange).await })?
    }

    fn log(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let error = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answered {}", response.status())),
            Err(error) => Some(root_cause(error.as_ref())),
        };
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(
                    error,
                    "spans cannot be exported, and are dropped until the collector answers"
                );
            }
            None if was_failing => tracing::info!("spans are exported again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    /// Blocks the thread of the exporter, which does nothing else.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request);
        self.log(&sent);
        sent
    }
}

async fn exchange(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut response = client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut answer = Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        headers.clone_from(response.headers());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(answer.body(body.into())?)
}

/// A client that follows no redirects, ignores proxies of the environment, and also works without system certificates.
fn build_client() -> reqwest::Result<reqwest::Client> {
    let roots = || {
        let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        certificates.filter_map(|der| reqwest::Certificate::from_der(der).ok())
    };
    // An error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // The runtime only runs during an export, so a connection cannot be kept alive.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
    };
    builder().tls_certs_merge(roots()).build().or_else(|_| builder().tls_certs_only(roots()).build())
}

/// Such as "connection refused". The outer errors name only the layers of the client.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
