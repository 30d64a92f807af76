//! Delivers an answer to a client that is still sending its request.
//!
//! A handler may answer before it has read the whole body: 401, 404, 413, 429. TCP resets a connection that is closed with
//! unread data in it, and the reset destroys the answer (RFC 9112, section 9.6). hyper closes that way as soon as a
//! handler drops its body. Therefore:
//!
//! - The rest of a small body is read and discarded, and the connection is kept ([`UnreadBody::finish`]).
//! - Otherwise the connection is closed in stages: the server sends the answer, closes its write side, discards what the
//!   client still sends, and only then closes the socket ([`close`]).
//!
//! Over HTTP/2 no connection is at stake, but h2 resets the stream after the answer. That is correct (`NO_ERROR`, RFC 9113,
//! section 8.1), yet clients on nghttp2 (curl, Node) drop the answer when they are reset in the middle of a body. There the
//! rest is discarded first, too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{sleep, timeout};

use crate::lifecycle::Tasks;

/// The limits for keeping a connection. Discarding more costs more than a new connection; Go's server has the same limit.
const KEEP_ALIVE_BOUNDS: Bounds =
    Bounds { bytes: 256 * 1024, time: Duration::from_secs(5), silence: Duration::from_secs(5) };
/// The limits of discarding before a connection is closed, or an HTTP/2 stream is reset.
const CLOSE_BOUNDS: Bounds = Bounds {
    // Several times the largest body that any route accepts (10 MiB), because many clients read no answer before they
    // have sent everything.
    bytes: 64 * 1024 * 1024,
    // nginx has the same (`lingering_time`, `lingering_timeout`).
    time: Duration::from_secs(30),
    silence: Duration::from_secs(5),
};
/// How long a client that has sent all these bytes has to read the answer before the connection is reset.
const FINAL_READ_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Bounds {
    bytes: usize,
    time: Duration,
    /// How long the client may pause.
    silence: Duration,
}

/// A value that two owners use in turn: the second gets it back when the first has dropped its own.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    /// One for the borrower, one for the lender.
    pub(super) fn pair(value: T) -> (Self, Self) {
        let shared = Arc::new(Mutex::new(value));
        (Self(Arc::clone(&shared)), Self(shared))
    }

    /// The value, unless the other owner still has it.
    pub(super) fn reclaim(self) -> Option<T> {
        let value = Arc::into_inner(self.0)?;
        Some(value.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Shared<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get()).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Shared<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.get().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get()).poll_shutdown(context)
    }
}

impl Body for Shared<TrackedBody> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let TrackedBody { body, read } = &mut *self.get();
        let frame = Pin::new(body).poll_frame(context);
        *read = match &frame {
            Poll::Ready(None) => ReadState::Complete,
            Poll::Ready(Some(Err(_))) => ReadState::Broken,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => ReadState::Started,
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.get().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.get().body.size_hint()
    }
}

/// A request's body, and how far a handler has read it.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: Incoming,
    read: ReadState,
}

impl TrackedBody {
    fn is_read(&self) -> bool {
        // A chunked body does not report its end again after it has been read.
        self.read == ReadState::Complete || self.body.is_end_stream()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadState {
    /// No read has been attempted. hyper sends `100 Continue` at the first one.
    Untouched,
    Started,
    Complete,
    Broken,
}

/// The lender's side of a request's body.
#[derive(Debug)]
pub(super) struct UnreadBody {
    body: Shared<TrackedBody>,
    version: Version,
    /// The client waits for `100 Continue` before it sends the body.
    awaits_continue: bool,
}

impl UnreadBody {
    /// Lends a request's body to the code that answers the request.
    pub(super) fn lend(request: Request<Incoming>) -> (axum::extract::Request, Self) {
        let version = request.version();
        let expects = request.headers().get(header::EXPECT);
        let awaits_continue =
            expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let (parts, body) = request.into_parts();
        let (shared, body) = Shared::pair(TrackedBody { body, read: ReadState::Untouched });
        let request = axum::extract::Request::from_parts(parts, axum::body::Body::new(shared));
        (request, Self { body, version, awaits_continue })
    }

    /// Decides what happens to the part of the body that the answer did not wait for. While `unread` is not zero, the
    /// client may be in the middle of a body, and [`close`] must close the connection.
    pub(super) fn finish(self, response: &mut Response, unread: &Arc<AtomicUsize>, tasks: &Tasks) {
        let is_http_2 = self.version == Version::HTTP_2;
        if is_http_2 {
            // HTTP/2 forbids this header (RFC 9113, section 8.2.2).
            response.headers_mut().remove(header::CONNECTION);
        }
        if self.body.get().is_read() {
            return;
        }
        unread.fetch_add(1, Ordering::AcqRel);
        // The handler may have passed the body on, so it could still be in use; no handler does that today.
        let Some(TrackedBody { body, read }) = self.body.reclaim() else { return };
        if read == ReadState::Broken || closes(response) {
            return;
        }
        // A client that awaits `100 Continue` may send either its body or the next request; the server cannot tell which.
        let awaits_continue = self.awaits_continue && read == ReadState::Untouched;
        let is_large = body.size_hint().lower() > KEEP_ALIVE_BOUNDS.bytes as u64;
        if !is_http_2 && (awaits_continue || is_large) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return;
        }
        let bounds = if is_http_2 { CLOSE_BOUNDS } else { KEEP_ALIVE_BOUNDS };
        let unread = Arc::clone(unread);
        tasks.spawn_until_stop("rest of a body", async move {
            if discard(body, bounds).await {
                unread.fetch_sub(1, Ordering::AcqRel);
            }
        });
    }
}

fn closes(response: &Response) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}

/// Reads the rest of a body, and returns whether it ended within the bounds.
async fn discard(body: Incoming, bounds: Bounds) -> bool {
    let mut rest = Limited::new(body, bounds.bytes);
    let reading = async {
        loop {
            match timeout(bounds.silence, rest.frame()).await {
                Ok(Some(Ok(_))) => {}
                Ok(None) => return true,
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
    };
    timeout(bounds.time, reading).await.unwrap_or(false)
}

/// Closes a connection whose last answer has been sent, so that the client can read it. If `is_sending` is false, the client
/// is probably not sending, and this waits for nothing.
pub(super) async fn close(stream: impl AsyncRead + AsyncWrite + Unpin, is_sending: bool) {
    close_within(CLOSE_BOUNDS, stream, is_sending).await;
}

async fn close_within(bounds: Bounds, mut stream: impl AsyncRead + AsyncWrite + Unpin, is_sending: bool) {
    if stream.shutdown().await.is_err() {
        // The client is gone.
        return;
    }
    let discarding = async {
        let mut buffer = vec![0; 8 * 1024];
        let mut left = bounds.bytes;
        let mut silence = if is_sending { bounds.silence } else { Duration::ZERO };
        while left > 0 {
            match timeout(silence, stream.read(&mut buffer)).await {
                Ok(Ok(count @ 1..)) => left = left.saturating_sub(count),
                Ok(Ok(0) | Err(_)) | Err(_) => return,
            }
            silence = bounds.silence;
        }
        sleep(FINAL_READ_DELAY).await;
    };
    // A client that is still sending after that gets a reset.
    let _ = timeout(bounds.time, discarding).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_mins(10);

    /// Returns how long the connection of a client with this behaviour stays open.
    async fn time_to_close(
        bounds: Bounds,
        is_sending: bool,
        client: impl AsyncFnOnce(DuplexStream),
    ) -> Duration {
        let (ours, theirs) = duplex(1024);
        let started = Instant::now();
        tokio::select! {
            () = close_within(bounds, ours, is_sending) => {}
            () = async {
                client(theirs).await;
                std::future::pending::<()>().await;
            } => {}
        }
        started.elapsed()
    }

    /// Sends single bytes with pauses, for ever.
    async fn trickle(mut client: DuplexStream) {
        while client.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_never_stops_is_cut_in_time() {
        let bounds = Bounds { bytes: usize::MAX, time: SHORT, silence: LONG };

        let elapsed = time_to_close(bounds, true, trickle).await;

        assert!(elapsed >= SHORT && elapsed < LONG, "{elapsed:?}");
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_is_cut_after_a_silence() {
        let bounds = || Bounds { bytes: usize::MAX, time: LONG, silence: SHORT };
        let keep_open = async |client: DuplexStream| {
            std::future::pending::<()>().await;
            drop(client);
        };

        let cut = time_to_close(bounds(), true, keep_open).await;
        let idle = time_to_close(bounds(), false, keep_open).await;

        assert!(cut >= SHORT && cut < LONG, "{cut:?}");
        assert!(idle < SHORT, "{idle:?}");
    }

    #[tokio::test]
    async fn a_client_that_has_sent_too_much_has_a_moment_to_read_the_answer() {
        let bounds = Bounds { bytes: 64 * 1024, time: LONG, silence: LONG };
        let flood = async |mut client: DuplexStream| while client.write_all(&[0; 4096]).await.is_ok() {};

        let elapsed = time_to_close(bounds, true, flood).await;

        assert!(elapsed >= FINAL_READ_DELAY && elapsed < LONG, "{elapsed:?}");
    }

    #[tokio::test]
    async fn a_client_that_closes_is_waited_for_no_longer() {
        let bounds = Bounds { bytes: usize::MAX, time: LONG, silence: LONG };

        let elapsed = time_to_close(bounds, true, async |client: DuplexStream| drop(client)).await;

        assert!(elapsed < LONG, "{elapsed:?}");
    }
}
