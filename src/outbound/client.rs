//! The guarded HTTP client.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method};
use reqwest::{Certificate, ClientBuilder, Response, redirect, retry};

use super::AllowHosts;
use super::error::OutboundError;
use super::resolver::PublicResolver;
use super::streaming::StreamingResponse;
use super::{install_crypto_provider, target};

/// Within the timeout of the request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For an unused connection, and the number of them for each host.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 8;

/// For the body where only the status matters.
const EXCERPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Headers that frame the message or name its receiver. Only the client sets them: set by a tenant, they could make
/// an intermediate proxy read a second request.
const RESERVED_HEADERS: [HeaderName; 8] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Sends requests to URLs that tenants chose. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    /// The hosts that are allowed for every workspace.
    allow: AllowHosts,
    /// For all other hosts. Its resolver refuses private addresses.
    strict: reqwest::Client,
    /// For allowed hosts. It has its own connections, so that a workspace never reuses a connection to a host that
    /// only another workspace may reach.
    permissive: reqwest::Client,
}

/// A request. Headers that frame the message (`Host`, `Content-Length`, `Connection` …) are ignored. Not `Debug`,
/// because it contains secrets.
#[derive(Clone)]
pub struct OutboundRequest {
    pub method: Method,
    /// The configured URL with its templates filled.
    pub url: String,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// For the whole exchange: name, connection, request and response.
    pub timeout: Duration,
    /// Bytes of the response body.
    pub max_response: usize,
}

/// A response with any status; redirects are not followed.
#[derive(Clone)]
pub struct OutboundResponse {
    pub status: u16,
    pub headers: HeaderMap,
    /// The bytes that were sent: no compression is requested or decoded.
    pub body: Bytes,
    /// The `Content-Type` header, if it is text.
    pub content_type: Option<String>,
}

/// Omits headers and body: they belong to the tenant and stay out of the logs.
impl fmt::Debug for OutboundResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OutboundResponse(status {}, {} bytes)", self.status, self.body.len())
    }
}

impl GuardedClient {
    /// Builds the client; `allow` applies to every workspace. Installs the TLS provider if `main` has not.
    pub fn new(allow: AllowHosts) -> Result<Self, OutboundError> {
        Self::with_resolver(allow, PublicResolver::system())
    }

    /// Uses this resolver.
    pub(super) fn with_resolver(allow: AllowHosts, resolver: PublicResolver) -> Result<Self, OutboundError> {
        install_crypto_provider();
        let strict = builder()?.dns_resolver(resolver).build().map_err(OutboundError::Setup)?;
        let permissive = builder()?.build().map_err(OutboundError::Setup)?;
        Ok(Self { allow, strict, permissive })
    }

    /// Sends a request once and reads the whole response. `allow` lists the hosts that the workspace may reach.
    pub async fn send(
        &self,
        request: OutboundRequest,
        allow: &AllowHosts,
    ) -> Result<OutboundResponse, OutboundError> {
        let limit = request.max_response;
        StreamingResponse::new(self.call(request, allow).await?, limit)?.read().await
    }

    /// Like [`Self::send`], but yields the body as it arrives. Time-out and limit cover the whole response.
    pub async fn send_streaming(
        &self,
        request: OutboundRequest,
        allow: &AllowHosts,
    ) -> Result<StreamingResponse, OutboundError> {
        let limit = request.max_response;
        StreamingResponse::new(self.call(request, allow).await?, limit)
    }

    /// Like [`Self::send`] where only the status matters: of the body it reads at most `max_response` bytes that
    /// arrive within a second.
    pub async fn send_for_status(
        &self,
        request: OutboundRequest,
        allow: &AllowHosts,
    ) -> Result<OutboundResponse, OutboundError> {
        let limit = request.max_response;
        let mut response = self.call(request, allow).await?;
        let mut body = BytesMut::new();
        let read_excerpt = async {
            while body.len() < limit
                && let Ok(Some(chunk)) = response.chunk().await
            {
                body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
            }
        };
        // The bytes that arrived in time are returned.
        let _ = tokio::time::timeout(EXCERPT_TIMEOUT, read_excerpt).await;
        Ok(outbound_response(response, body))
    }

    async fn call(
        &self,
        mut request: OutboundRequest,
        allow: &AllowHosts,
    ) -> Result<Response, OutboundError> {
        let target = target::parse(&request.url, &[&self.allow, allow])?;
        for name in RESERVED_HEADERS {
            request.headers.remove(name);
        }
        let client = if target.allowed { &self.permissive } else { &self.strict };
        let mut call =
            client.request(request.method, target.url).headers(request.headers).timeout(request.timeout);
        if let Some(body) = request.body {
            call = call.body(body);
        }
        Ok(call.send().await?)
    }
}

/// The settings of both clients. The bundled certificates make `build` succeed where the system has none.
fn builder() -> Result<ClientBuilder, OutboundError> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(OutboundError::Setup)?;
    Ok(reqwest::Client::builder()
        .tls_certs_merge(roots)
        .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST))
}

pub(super) fn outbound_response(mut response: Response, body: BytesMut) -> OutboundResponse {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    OutboundResponse { status, headers, body: body.freeze(), content_type }
}
