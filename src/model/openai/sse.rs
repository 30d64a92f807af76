//! An answer as server-sent events.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eventsource_stream::{EventStream, EventStreamError};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

use crate::domain::chat::{ModelError, Part};
use crate::model::PartStream;

use super::{http::Body, reader::Reader};

/// What may still come once the model is finished: its usage, and `[DONE]`.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the end of the body is waited for, so that its connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The parts of a stream of chunks, up to `[DONE]` or its end. What goes wrong after
/// the model is finished does not spoil its answer.
pub(super) fn read(body: Body) -> PartStream {
    // Some leave out the empty line that ends the last event.
    let body = body.chain(stream::iter([Ok(Bytes::from_static(b"\n\n"))])).boxed();
    let state = (EventStream::new(lines(body).boxed()), Reader::default());

    stream::try_unfold(state, |(mut events, mut reader)| async move {
        let event = if reader.is_finished() {
            timeout(USAGE_TIMEOUT, events.next()).await.ok().flatten().and_then(Result::ok)
        } else {
            events.next().await.transpose().map_err(model_error)?
        };
        let Some(event) = event else { return Ok(None) };
        if event.data.trim() == "[DONE]" {
            let _ = timeout(DRAIN_TIMEOUT, async { while let Some(Ok(_)) = events.next().await {} }).await;
            return Ok(None);
        }

        let was_finished = reader.is_finished();
        match reader.read_chunk(event.data.as_bytes()) {
            Ok(parts) => Ok(Some((parts, (events, reader)))),
            Err(_) if was_finished => Ok(None),
            Err(error) => Err(error),
        }
    })
    .map_ok(|parts: Vec<Part>| stream::iter(parts).map(Ok))
    .try_flatten()
    .boxed()
}

/// Cuts a body into whole lines: the parser takes a time that grows with the square
/// of what it has to keep.
fn lines(body: Body) -> impl Stream<Item = Result<Bytes, ModelError>> + Send {
    let state = (body, BytesMut::new(), 0);
    stream::try_unfold(state, |(mut body, mut buffer, mut searched)| async move {
        loop {
            let found = buffer.iter().skip(searched).position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = buffer.split_to(searched + at + 1).freeze();
                return Ok(Some((line, (body, buffer, 0))));
            }
            searched = buffer.len();
            match body.try_next().await? {
                Some(chunk) => buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    })
}

fn model_error(error: EventStreamError<ModelError>) -> ModelError {
    match error {
        EventStreamError::Transport(error) => error,
        EventStreamError::Utf8(_) | EventStreamError::Parser(_) => ModelError::Unreadable,
    }
}
