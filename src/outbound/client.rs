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

/// How long a connection may take to be made, within the request's time-out.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept, and how many of them for a host.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 8;

/// How long a body is waited for, after the head, where the status is what matters.
const EXCERPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Headers that frame the message or name its receiver. They are the client's:
/// set by a tenant, they could make a proxy in between read another request.
const RESERVED_HEADERS: [HeaderName; 8] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Sends requests to URLs that tenants chose. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    /// The hosts that are let through for every workspace.
    allow: AllowHosts,
    /// For all but the hosts that are let through. Its resolver refuses.
    strict: reqwest::Client,
    /// For the hosts that are let through. It has connections of its own, so one
    /// kept for the workspace that may is never found by one that may not.
    permissive: reqwest::Client,
}

/// One request. Headers that frame the message (`Host`, `Content-Length`,
/// `Connection` …) are ignored. Not `Debug`: it holds secrets.
#[derive(Clone)]
pub struct OutboundRequest {
    pub method: Method,
    /// As it was configured, with its templates filled.
    pub url: String,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// For all of it: name, connection, sending, and the whole answer.
    pub timeout: Duration,
    /// Bytes of the answer's body.
    pub max_response: usize,
}

/// An answer, whatever its status: a redirect is not followed, and is one too.
#[derive(Clone)]
pub struct OutboundResponse {
    pub status: u16,
    pub headers: HeaderMap,
    /// As it was sent: no compression is asked for, and none is undone.
    pub body: Bytes,
    /// The `Content-Type` header, where it is readable.
    pub content_type: Option<String>,
}

/// Without headers and body, which are the tenant's and not for the logs.
impl fmt::Debug for OutboundResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OutboundResponse(status {}, {} bytes)", self.status, self.body.len())
    }
}

impl GuardedClient {
    /// Sets up the client. `allow` is let through for every workspace. Installs
    /// the TLS provider where `main` has not.
    pub fn new(allow: AllowHosts) -> Result<Self, OutboundError> {
        Self::with_resolver(allow, PublicResolver::system())
    }

    /// The same over this resolver.
    pub(super) fn with_resolver(allow: AllowHosts, resolver: PublicResolver) -> Result<Self, OutboundError> {
        install_crypto_provider();
        let strict = builder()?.dns_resolver(resolver).build().map_err(OutboundError::Setup)?;
        let permissive = builder()?.build().map_err(OutboundError::Setup)?;
        Ok(Self { allow, strict, permissive })
    }

    /// Sends a request and reads its whole answer. `allow` is what is let
    /// through for the workspace in whose name it is sent. Nothing is tried
    /// twice.
    pub async fn send(
        &self,
        request: OutboundRequest,
        allow: &AllowHosts,
    ) -> Result<OutboundResponse, OutboundError> {
        let limit = request.max_response;
        StreamingResponse::new(self.call(request, allow).await?, limit)?.read().await
    }

    /// As [`Self::send`], for whom the body comes piece by piece. Time-out and limit are those of the
    /// whole answer, all the same.
    pub async fn send_streaming(
        &self,
        request: OutboundRequest,
        allow: &AllowHosts,
    ) -> Result<StreamingResponse, OutboundError> {
        let limit = request.max_response;
        StreamingResponse::new(self.call(request, allow).await?, limit)
    }

    /// As [`Self::send`], for whom the answer's status is enough: of its body only the beginning is
    /// read, at most `max_response` bytes of what comes within a second, before it breaks off.
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
        // What has come until then is kept.
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

/// What both clients share. System certificates count where there are any; the
/// bundled ones make the client work (and `build` succeed) where there are none.
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
