//! The body of every response: small frames, each of which the client must read in time, and an account of its bytes.
//!
//! hyper hands all of a frame to h2 if the client accepts one byte of it, and forgets a stream after the last frame. Frames are
//! therefore small, few of them are on their way at once, and the body ends only when its last frame is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::combinators::Fuse;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::stalled_reader::StallDetector;
use super::unsent::{TooMuchUnsent, Unsent, UnsentPermit};

/// The size of a frame, in bytes; also of HTTP/2, by default.
const FRAME: usize = 16 * 1024;
/// The frames of a response that the client has not read, at most.
const MAX_FRAMES: usize = 4;

/// Counts the bytes of a response if it is more than a frame. A smaller one costs less than its connection; errors and health are
/// always smaller, so they are always sent.
///
/// # Errors
/// If they exceed a bound. A response to a request that `has_effect` is sent nevertheless, so that its client learns of the effect.
pub(super) fn acquire_permit(
    response: &Response,
    unsent: &Unsent,
    has_effect: bool,
) -> Result<Option<UnsentPermit>, TooMuchUnsent> {
    // The bytes of an endless response are counted as they are produced.
    let size = response.body().size_hint().exact().unwrap_or_default();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size <= FRAME {
        return Ok(None);
    }
    if has_effect { Ok(Some(unsent.acquire(size))) } else { unsent.try_acquire(size).map(Some) }
}

/// A response body under the watch of its task's [`StallDetector`].
#[derive(Debug)]
pub(super) struct WatchedBody {
    body: Fuse<Body>,
    /// What is left of the last part of the body.
    rest: Bytes,
    /// For the bytes of a body of known size, before they are there.
    permit: Option<UnsentPermit>,
    unsent: Unsent,
    detector: StallDetector,
    has_begun: bool,
    /// Its request is in flight until all is sent.
    _in_flight: TaskTrackerToken,
}

impl WatchedBody {
    pub(super) fn new(
        body: Body,
        permit: Option<UnsentPermit>,
        unsent: Unsent,
        in_flight: TaskTrackerToken,
    ) -> Self {
        Self {
            body: Fuse::new(body),
            rest: Bytes::new(),
            permit,
            unsent,
            detector: StallDetector::current(),
            has_begun: false,
            _in_flight: in_flight,
        }
    }

    /// Waits for bytes to send; false if there are no more.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        while self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()? else {
                return Poll::Ready(Ok(false));
            };
            // No response has trailers.
            if let Ok(bytes) = frame.into_data() {
                self.rest = self.count(bytes)?;
            }
        }
        Poll::Ready(Ok(true))
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, TooMuchUnsent> {
        let permit = match self.permit.take() {
            Some(permit) => permit,
            None if bytes.len() <= FRAME => return Ok(bytes),
            None => self.unsent.try_acquire(bytes.len())?,
        };
        Ok(permit.attach(bytes))
    }
}

impl hyper::body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // Before the next part is produced, so that a slow reader of events keeps few of them in memory.
        ready!(this.detector.poll_fewer_than(MAX_FRAMES, context));
        match ready!(this.poll_rest(context)) {
            Ok(true) => {
                this.has_begun = true;
                let bytes = this.rest.split_to(this.rest.len().min(FRAME));
                Poll::Ready(Some(Ok(Frame::data(this.detector.watch(bytes)))))
            }
            Ok(false) => this.detector.poll_fewer_than(1, context).map(|()| None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// False after the first frame: the end waits until the last one is read.
    fn is_end_stream(&self) -> bool {
        !self.has_begun && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let upper = hint.upper().map(|upper| upper + rest);
        // The lower bound must not exceed the upper one in between.
        if let Some(upper) = upper {
            hint.set_upper(upper);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use axum::response::IntoResponse as _;
    use tokio_util::task::TaskTracker;

    use super::super::unsent::UnsentLimit;
    use super::*;

    fn unsent(max: usize) -> Unsent {
        UnsentLimit::new(max, Arc::default()).connection([127, 0, 0, 1].into())
    }

    fn watched(body: Body, unsent: &Unsent) -> WatchedBody {
        WatchedBody::new(body, None, unsent.clone(), TaskTracker::new().token())
    }

    fn poll(body: &mut WatchedBody) -> Poll<Option<Result<Bytes, BoxError>>> {
        let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map_ok(|frame| frame.into_data().unwrap())
    }

    fn next(body: &mut WatchedBody) -> Bytes {
        let Poll::Ready(Some(Ok(bytes))) = poll(body) else { panic!("no frame") };
        bytes
    }

    #[test]
    fn a_body_is_cut_into_frames_and_keeps_its_size() {
        let content: Vec<u8> = (0..40_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut body = watched(content.clone().into(), &unsent(1 << 20));
        assert_eq!(body.size_hint().exact(), Some(40_000));

        let mut received = next(&mut body).to_vec();
        assert_eq!((received.len(), body.size_hint().exact()), (FRAME, Some(40_000 - FRAME as u64)));
        received.extend(next(&mut body));
        received.extend(next(&mut body));

        assert!(matches!(poll(&mut body), Poll::Ready(None)));
        assert_eq!(received, content);
    }

    #[test]
    fn only_a_few_frames_are_unread_and_the_body_ends_when_none_is() {
        let mut body = watched(vec![0_u8; 5 * FRAME].into(), &unsent(1 << 20));

        let mut unread: Vec<_> = (0..MAX_FRAMES).map(|_| next(&mut body)).collect();
        assert!(poll(&mut body).is_pending());
        unread.pop();
        unread.push(next(&mut body));
        unread.truncate(1);
        assert!(poll(&mut body).is_pending() && !body.is_end_stream());
        unread.clear();

        assert!(matches!(poll(&mut body), Poll::Ready(None)));
    }

    #[test]
    fn an_empty_body_has_ended_from_the_start() {
        assert!(watched(Body::empty(), &unsent(1)).is_end_stream());
    }

    #[test]
    fn a_response_that_does_not_fit_is_refused_unless_its_request_has_an_effect() {
        let unsent = unsent(10 * FRAME);
        let response = |size: usize| vec![0_u8; size].into_response();

        let first = acquire_permit(&response(FRAME + 1), &unsent, false).unwrap();
        assert!(first.is_some());
        assert!(acquire_permit(&response(FRAME + 1), &unsent, false).is_err());
        assert!(acquire_permit(&response(FRAME), &unsent, false).unwrap().is_none());
        assert!(acquire_permit(&response(FRAME + 1), &unsent, true).unwrap().is_some());
        drop(first);
        assert!(acquire_permit(&response(FRAME + 1), &unsent, false).is_ok());
    }

    #[test]
    fn an_endless_body_ends_with_an_error_where_it_does_not_fit() {
        let unsent = unsent(10 * FRAME);
        let other = unsent.try_acquire(FRAME).unwrap();
        let parts = [1, 2 * FRAME].map(|size| Ok::<_, BoxError>(Bytes::from(vec![0; size])));
        let mut body = watched(Body::from_stream(futures::stream::iter(parts)), &unsent);

        assert_eq!(next(&mut body).len(), 1);
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(_)))));
        drop(other);
    }
}
