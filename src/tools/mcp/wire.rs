//! The SDK's HTTP, over the guarded client: no redirects, no proxies, bounded in bytes and in
//! time. Only what answers a request gets through: what a server would tell beside it, in the same
//! stream or in one of its own (`GET`), is not followed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rmcp::model::{ClientJsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::{Sse, SseStream};

use super::Reach;
use crate::outbound::{OpenResponse, OutboundError, OutboundRequest};

/// How much of an answer is read, in bytes: of a stream all of its events together.
const MAX_ANSWER: usize = 1024 * 1024;
/// How much longer than a call an exchange may take: the call's own time-out is the one that is told.
const SLACK: Duration = Duration::from_secs(2);
/// How long the end of a session may take.
const GOODBYE: Duration = Duration::from_secs(2);

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Why there is no answer of the protocol.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireFault {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("status {0}")]
    Status(u16),
    #[error("its answer ended too early")]
    Ended,
}

type WireError = StreamableHttpError<WireFault>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

/// A server as the SDK reaches it.
#[derive(Clone)]
pub(super) struct Wire(Arc<Reach>);

impl Wire {
    pub(super) fn new(reach: Reach) -> Self {
        Self(Arc::new(reach))
    }

    /// The tenant's headers, and over them the protocol's.
    fn headers(
        &self,
        session: Option<&str>,
        of_protocol: HashMap<HeaderName, HeaderValue>,
    ) -> Result<HeaderMap, WireError> {
        let mut headers = self.0.headers.clone();
        headers.extend(of_protocol);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = session {
            let value = HeaderValue::from_str(session).map_err(|_| WireError::SessionExpired)?;
            headers.insert(SESSION, value);
        }
        Ok(headers)
    }

    async fn open(&self, request: OutboundRequest) -> Result<OpenResponse, WireError> {
        let opened = self.0.outbound.open(request, &self.0.allow_hosts).await;
        opened.map_err(|error| WireError::Client(error.into()))
    }
}

impl StreamableHttpClient for Wire {
    type Error = WireFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, WireError> {
        let awaited = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            ClientJsonRpcMessage::Response(_)
            | ClientJsonRpcMessage::Notification(_)
            | ClientJsonRpcMessage::Error(_) => None,
        };
        let request = OutboundRequest {
            method: Method::POST,
            url: uri.as_ref().to_owned(),
            headers: self.headers(session.as_deref(), headers)?,
            body: Some(serde_json::to_vec(&message)?.into()),
            timeout: self.0.timeout + SLACK,
            max_response: MAX_ANSWER,
        };
        let response = self.open(request).await?;
        let of_session = response.headers.get(&SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let status = response.status;
        match (status, awaited) {
            (404, _) if session.is_some() => Err(WireError::SessionExpired),
            (200..=299, None) => Ok(StreamableHttpPostResponse::Accepted),
            (200..=299, Some(id)) => {
                let answer = if is(&response.headers, EVENTS) {
                    from_events(response, &id).await?
                } else {
                    let read = read(response).await?.and_then(|answer| answer_to(&id, answer));
                    read.ok_or(WireError::UnexpectedContentType(None))?
                };
                Ok(StreamableHttpPostResponse::Json(answer, of_session))
            }
            // A page of somebody's proxy is no answer, and a refusal is none of the protocol.
            (401 | 403, _) => Err(WireError::Client(WireFault::Status(status))),
            (400.., Some(id)) if is(&response.headers, JSON) => {
                let Some(ServerJsonRpcMessage::Error(answer)) = read(response).await? else {
                    return Err(WireError::Client(WireFault::Status(status)));
                };
                // So do servers say that they know no such session: they have looked at nothing else.
                if status == 400 && session.is_some() && answer.id.as_ref() != Some(&id) {
                    return Err(WireError::SessionExpired);
                }
                let answer = ServerJsonRpcMessage::error(answer.error, Some(id));
                Ok(StreamableHttpPostResponse::Json(answer, of_session))
            }
            (400, _) if session.is_some() => Err(WireError::SessionExpired),
            (status, _) => Err(WireError::Client(WireFault::Status(status))),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), WireError> {
        let request = OutboundRequest {
            method: Method::DELETE,
            url: uri.as_ref().to_owned(),
            headers: self.headers(Some(&session), headers)?,
            body: None,
            timeout: GOODBYE,
            max_response: MAX_ANSWER,
        };
        // A server that keeps its sessions (405) or has forgotten this one has nothing to tell.
        self.open(request).await.map(drop)
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, WireError> {
        Err(WireError::ServerDoesNotSupportSse)
    }
}

fn is(headers: &HeaderMap, kind: &str) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
}

/// A whole answer; none where it is not of the protocol.
async fn read(response: OpenResponse) -> Result<Option<ServerJsonRpcMessage>, WireError> {
    let whole = response.read().await.map_err(|error| WireError::Client(error.into()))?;
    Ok(serde_json::from_slice(&whole.body).ok())
}

/// The answer to `id` out of a stream. What else a server tells there is passed over.
async fn from_events(response: OpenResponse, id: &RequestId) -> Result<ServerJsonRpcMessage, WireError> {
    let mut events = SseStream::from_bytes_stream(response.into_stream()).boxed();
    let mut is_odd = false;
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| WireError::Client(broken(error)))?;
        let data = event.data.unwrap_or_default();
        if data.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&data) {
            Ok(message) => {
                if let Some(answer) = answer_to(id, message) {
                    return Ok(answer);
                }
            }
            Err(_) => is_odd = true,
        }
    }
    let ended = WireError::Client(WireFault::Ended);
    Err(if is_odd { WireError::UnexpectedContentType(None) } else { ended })
}

fn broken(error: SseError) -> WireFault {
    let SseError::Body(error) = error else { return WireFault::Ended };
    let outbound = error.downcast::<OutboundError>();
    outbound.map_or(WireFault::Ended, |error| WireFault::Outbound(*error))
}

/// The message, if it answers `id`. An error without a good id is of this exchange, for there is no
/// other in it.
fn answer_to(id: &RequestId, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
    match message {
        ServerJsonRpcMessage::Response(response) if response.id == *id => {
            Some(ServerJsonRpcMessage::Response(response))
        }
        ServerJsonRpcMessage::Error(error) => {
            Some(ServerJsonRpcMessage::error(error.error, Some(id.clone())))
        }
        ServerJsonRpcMessage::Response(_)
        | ServerJsonRpcMessage::Notification(_)
        | ServerJsonRpcMessage::Request(_) => None,
    }
}
