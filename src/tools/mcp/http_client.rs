//! The HTTP transport of the SDK over the guarded client: no redirects, no proxies, bounded in bytes and time. Only
//! responses to requests are read: other messages in the same stream, and streams of their own (`GET`), are ignored.

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

use super::ServerConnection;
use crate::outbound::{OutboundError, OutboundRequest, StreamingResponse};

/// The largest response, in bytes; for a stream, of all its events together.
const MAX_RESPONSE: usize = 1024 * 1024;
/// Added to the timeout of a call, so that the call reports its own timeout.
const TIMEOUT_SLACK: Duration = Duration::from_secs(2);
/// The timeout for closing a session.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The reason for the absence of a protocol response.
#[derive(Debug, thiserror::Error)]
pub(super) enum McpHttpError {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("status {0}")]
    Status(u16),
    #[error("its answer ended too early")]
    Truncated,
}

type StreamableError = StreamableHttpError<McpHttpError>;
type EventStream = BoxStream<'static, Result<Sse, SseError>>;

/// The HTTP client of the SDK for one server.
#[derive(Clone)]
pub(super) struct McpHttpClient(Arc<ServerConnection>);

impl McpHttpClient {
    pub(super) fn new(connection: ServerConnection) -> Self {
        Self(Arc::new(connection))
    }

    /// The configured headers, overridden by those of the protocol.
    fn headers(
        &self,
        session: Option<&str>,
        protocol_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<HeaderMap, StreamableError> {
        let mut headers = self.0.headers.clone();
        headers.extend(protocol_headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = session {
            let value = HeaderValue::from_str(session).map_err(|_| StreamableError::SessionExpired)?;
            headers.insert(SESSION_ID, value);
        }
        Ok(headers)
    }

    async fn open(&self, request: OutboundRequest) -> Result<StreamingResponse, StreamableError> {
        let opened = self.0.outbound.send_streaming(request, &self.0.allow_hosts).await;
        opened.map_err(|error| StreamableError::Client(error.into()))
    }
}

impl StreamableHttpClient for McpHttpClient {
    type Error = McpHttpError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, StreamableError> {
        let request_id = match &message {
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
            timeout: self.0.timeout + TIMEOUT_SLACK,
            max_response: MAX_RESPONSE,
        };
        let response = self.open(request).await?;
        let session_id = response.headers.get(&SESSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let status = response.status;
        match (status, request_id) {
            (404, _) if session.is_some() => Err(StreamableError::SessionExpired),
            (200..=299, None) => Ok(StreamableHttpPostResponse::Accepted),
            (200..=299, Some(id)) => {
                let reply = if has_content_type(&response.headers, EVENT_STREAM) {
                    read_event_stream(response, &id).await?
                } else {
                    let reply = read_message(response).await?.and_then(|reply| match_response(&id, reply));
                    reply.ok_or(StreamableError::UnexpectedContentType(None))?
                };
                Ok(StreamableHttpPostResponse::Json(reply, session_id))
            }
            // An error page of a proxy is not a protocol response, and neither is a refusal.
            (401 | 403, _) => Err(StreamableError::Client(McpHttpError::Status(status))),
            (400.., Some(id)) if has_content_type(&response.headers, JSON) => {
                let Some(ServerJsonRpcMessage::Error(reply)) = read_message(response).await? else {
                    return Err(StreamableError::Client(McpHttpError::Status(status)));
                };
                // This is how servers report an unknown session; they have processed nothing.
                if status == 400 && session.is_some() && reply.id.as_ref() != Some(&id) {
                    return Err(StreamableError::SessionExpired);
                }
                let reply = ServerJsonRpcMessage::error(reply.error, Some(id));
                Ok(StreamableHttpPostResponse::Json(reply, session_id))
            }
            (400, _) if session.is_some() => Err(StreamableError::SessionExpired),
            (status, _) => Err(StreamableError::Client(McpHttpError::Status(status))),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _auth_header: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), StreamableError> {
        let request = OutboundRequest {
            method: Method::DELETE,
            url: uri.as_ref().to_owned(),
            headers: self.headers(Some(&session), headers)?,
            body: None,
            timeout: CLOSE_TIMEOUT,
            max_response: MAX_RESPONSE,
        };
        // The status is ignored: a server may not support this (405), or may have dropped the session already.
        self.open(request).await.map(drop)
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<EventStream, StreamableError> {
        Err(StreamableError::ServerDoesNotSupportSse)
    }
}

fn has_content_type(headers: &HeaderMap, kind: &str) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
}

/// Reads a whole response; `None` if it is not a protocol message.
async fn read_message(response: StreamingResponse) -> Result<Option<ServerJsonRpcMessage>, StreamableError> {
    let response = response.read().await.map_err(|error| StreamableError::Client(error.into()))?;
    Ok(serde_json::from_slice(&response.body).ok())
}

/// Reads the response to `id` from a stream and ignores other messages.
async fn read_event_stream(
    response: StreamingResponse,
    id: &RequestId,
) -> Result<ServerJsonRpcMessage, StreamableError> {
    let mut events = SseStream::from_bytes_stream(response.into_stream()).boxed();
    let mut has_invalid_event = false;
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| StreamableError::Client(stream_error(error)))?;
        let data = event.data.unwrap_or_default();
        if data.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&data) {
            Ok(message) => {
                if let Some(reply) = match_response(id, message) {
                    return Ok(reply);
                }
            }
            Err(_) => has_invalid_event = true,
        }
    }
    let truncated = StreamableError::Client(McpHttpError::Truncated);
    Err(if has_invalid_event { StreamableError::UnexpectedContentType(None) } else { truncated })
}

fn stream_error(error: SseError) -> McpHttpError {
    let SseError::Body(error) = error else { return McpHttpError::Truncated };
    let outbound = error.downcast::<OutboundError>();
    outbound.map_or(McpHttpError::Truncated, |error| McpHttpError::Outbound(*error))
}

/// The message if it responds to `id`. An error without a matching id belongs to this exchange, because there is no
/// other in it.
fn match_response(id: &RequestId, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
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
