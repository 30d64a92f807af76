//! A response whose body is still arriving.

use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use http::HeaderMap;
use reqwest::Response;

use super::client::{OutboundResponse, outbound_response};
use super::error::OutboundError;

/// A response with any status. Dropping it aborts the transfer.
#[derive(Debug)]
pub struct StreamingResponse {
    pub status: u16,
    pub headers: HeaderMap,
    response: Response,
    /// The remaining limit in bytes.
    remaining: usize,
}

impl StreamingResponse {
    pub(super) fn new(response: Response, limit: usize) -> Result<Self, OutboundError> {
        let status = response.status().as_u16();
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(OutboundError::TooLarge { status });
        }
        Ok(Self { status, headers: response.headers().clone(), response, remaining: limit })
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        let Some(chunk) = self.response.chunk().await? else { return Ok(None) };
        let remaining = self.remaining.checked_sub(chunk.len());
        self.remaining = remaining.ok_or(OutboundError::TooLarge { status: self.status })?;
        Ok(Some(chunk))
    }

    /// Reads the whole body.
    pub async fn read(mut self) -> Result<OutboundResponse, OutboundError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(outbound_response(self.response, body))
    }

    /// The body as it arrives; an error is the last item.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, OutboundError>> + Send + 'static {
        stream::unfold(Some(self), |streaming| async move {
            let mut response = streaming?;
            match response.chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(response))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}
