//! A response as server-sent events.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use sse_stream::SseStream;
use tokio::time::timeout;

use crate::domain::chat::{ModelError, ModelErrorKind, Part};
use crate::model::PartStream;

use super::{
    http::{Body, Patience},
    reader::Reader,
};

/// Waited for the usage and `[DONE]` once the model has finished.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Waited for the end of the body, so that the connection can be reused.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The parts of a stream of chunks, up to `[DONE]` or its end. An error after the model has finished is ignored.
pub(super) fn read(body: Body, patience: Patience) -> PartStream {
    // Some vendors omit the empty line that ends the last event.
    let body = body.chain(stream::iter([Ok(Bytes::from_static(b"\n\n"))])).boxed();
    let events = SseStream::from_bytes_stream(data_lines(body).boxed());

    stream::try_unfold((Some(events), Reader::default()), move |(events, mut reader)| {
        let patience = patience.clone();
        async move {
            let Some(mut events) = events else { return Ok(None) };
            let event = if reader.is_finished() {
                timeout(USAGE_TIMEOUT, events.next()).await.ok().flatten().and_then(Result::ok)
            } else {
                events.next().await.transpose().map_err(model_error)?
            };
            let Some(event) = event else { return reader.end().map(|()| None) };
            let data = event.data.unwrap_or_default();
            if data.is_empty() {
                return Ok(Some((Vec::new(), (Some(events), reader))));
            }
            if data.trim() == "[DONE]" {
                let _ =
                    timeout(DRAIN_TIMEOUT, async { while let Some(Ok(_)) = events.next().await {} }).await;
                // Some vendors send no finish reason.
                let finished = reader.finish()?.into_iter().collect();
                return Ok(Some((finished, (None, reader))));
            }

            let was_finished = reader.is_finished();
            match reader.read_chunk(data.as_bytes()) {
                Ok(parts) => {
                    if reader.has_begun() {
                        patience.end();
                    }
                    Ok(Some((parts, (Some(events), reader))))
                }
                Err(_) if was_finished => Ok(None),
                Err(error) => Err(error),
            }
        }
    })
    .map_ok(|parts: Vec<Part>| stream::iter(parts).map(Ok))
    .try_flatten()
    .boxed()
}

/// The lines of a body with data, and the empty lines that end events. The parser takes any other line than a
/// field of the standard as an error, and some vendors send such lines.
fn data_lines(body: Body) -> impl Stream<Item = Result<Bytes, ModelError>> + Send {
    let state = (body, BytesMut::new(), 0);
    stream::try_unfold(state, |(mut body, mut buffer, mut searched)| async move {
        loop {
            let found = buffer.iter().skip(searched).position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = buffer.split_to(searched + at + 1).freeze();
                // llama.cpp sends an error as a field of its own.
                if let Some(error) = line.strip_prefix(b"error:") {
                    return Ok(Some(([b"data:", error].concat().into(), (body, buffer, 0))));
                }
                if is_data_or_end(&line) {
                    return Ok(Some((line, (body, buffer, 0))));
                }
                searched = 0;
                continue;
            }
            searched = buffer.len();
            match body.try_next().await? {
                Some(chunk) => buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    })
}

fn is_data_or_end(line: &[u8]) -> bool {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    line.starts_with(b"data:") || matches!(line, b"\n" | b"\r\n")
}

fn model_error(error: sse_stream::Error) -> ModelError {
    let sse_stream::Error::Body(error) = error else { return ModelErrorKind::Unreadable.into() };
    error.downcast().map_or_else(|_| ModelErrorKind::Unreadable.into(), |error| *error)
}
