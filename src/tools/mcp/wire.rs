//! The SDK's HTTP, over the guarded client: no redirects, no proxies, bounded in bytes and in
//! time. There is no stream beside the calls (`GET`): what a server would tell there is not
//! followed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rmcp::model::{ClientJsonRpcMessage, ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sse_stream::{Sse, SseStream};

use super::Reach;
use crate::outbound::{OpenResponse, OutboundError, OutboundRequest};

/// How much of an answer is read, in bytes: of a stream all of its events together.
const MAX_ANSWER: usize = 1024 * 1024;
/// How much longer than a call an exchange may take: the call's own time-out is the one that is told.
const SLACK: Duration = Duration::from_secs(2);
/// How long the end of a session may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// The code of an error that is made here: a stream ended without the answer that was awaited.
pub(super) const BROKEN: i32 = -32_098;

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
        match (response.status, awaited) {
            (404, _) if session.is_some() => Err(WireError::SessionExpired),
            (200..=299, None) => Ok(StreamableHttpPostResponse::Accepted),
            (200..=299, Some(id)) if is(&response.headers, EVENTS) => {
                Ok(StreamableHttpPostResponse::Sse(until_answered(response.into_stream(), id), of_session))
            }
            (200..=299, Some(_)) => match read(response).await? {
                Some(answer) => Ok(StreamableHttpPostResponse::Json(answer, of_session)),
                None => Err(WireError::UnexpectedContentType(None)),
            },
            // A page of somebody's proxy is no answer, and a refusal is none of the protocol.
            (status @ (401 | 403), _) => Err(WireError::Client(WireFault::Status(status))),
            (status, Some(_)) if status >= 400 && is(&response.headers, JSON) => {
                match read(response).await? {
                    Some(answer @ ServerJsonRpcMessage::Error(_)) => {
                        Ok(StreamableHttpPostResponse::Json(answer, of_session))
                    }
                    Some(_) | None => Err(WireError::Client(WireFault::Status(status))),
                }
            }
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

/// The events of a stream. One that ends, or breaks, without the answer to `id` ends with an
/// error in its place: the SDK would wait for it on and on.
fn until_answered(
    bytes: impl Stream<Item = Result<bytes::Bytes, OutboundError>> + Send + 'static,
    id: RequestId,
) -> Events {
    let events = SseStream::from_bytes_stream(bytes).boxed();
    let begun = (events, Some(id));
    stream::unfold(begun, |(mut events, awaited)| async move {
        match events.next().await {
            Some(Ok(event)) => {
                let awaited = awaited.filter(|_| !event.data.as_deref().is_some_and(is_answer));
                Some((Ok(event), (events, awaited)))
            }
            ended => {
                let error = in_place_of_answer(awaited?, ended.and_then(Result::err).as_ref());
                Some((Ok(error), (stream::empty().boxed(), None)))
            }
        }
    })
    .boxed()
}

/// A stream carries one request's answer; all else in it are notifications and requests.
fn is_answer(data: &str) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }

    serde_json::from_str::<Answer>(data).is_ok_and(|answer| answer.result.is_some() || answer.error.is_some())
}

fn in_place_of_answer(id: RequestId, error: Option<&SseError>) -> Sse {
    let outbound = match error {
        Some(SseError::Body(error)) => error.downcast_ref::<OutboundError>(),
        Some(_) | None => None,
    };
    let why = outbound.map_or_else(|| "its answer ended too early".to_owned(), ToString::to_string);
    let error = ErrorData::new(ErrorCode(BROKEN), why, None);
    let message = ServerJsonRpcMessage::error(error, Some(id));
    Sse { data: serde_json::to_string(&message).ok(), ..Sse::default() }
}
