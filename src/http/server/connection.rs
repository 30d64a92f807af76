//! One connection: its requests, the times in which a client must act, and its end.

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::{Method, header};
use hyper::body::Incoming;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt as _, service_fn};

use super::admission::ConnectionPermit;
use super::limits::Peer;
use super::linger::{self, Shared, UnreadBody};
use super::stalled_reader::detect_stalls;
use crate::lifecycle::Tasks;

/// How long responses may still be written after the grace period, because waiting requests are answered only then.
const FORCE_CLOSE_DELAY: Duration = Duration::from_secs(3);
/// How long clients have, when the process stops, to read the end of an event stream, or to read their response if they are
/// still sending.
const STREAM_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A socket that fails when the client reads nothing for a while.
pub(super) type Socket = Pin<Box<TimeoutStream<TcpStream>>>;

/// The socket of an accepted connection. A client that reads nothing for `write_timeout` is disconnected: otherwise it keeps its
/// response in memory, and its permit.
pub(super) fn socket(stream: TcpStream, write_timeout: Duration) -> Socket {
    // Otherwise a small response waits for the acknowledgement of the previous one.
    let _ = stream.set_nodelay(true);
    let mut socket = Box::pin(TimeoutStream::new(stream));
    socket.as_mut().set_write_timeout_pinned(Some(write_timeout));
    socket
}

/// The state of a connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// Whether a request has arrived.
    has_request: AtomicBool,
    /// Whether a request was answered with an event stream.
    has_stream: AtomicBool,
    /// The number of bodies that were not read before their request was answered; the client may still be sending them.
    unread: Arc<AtomicUsize>,
    /// The requests that have not been answered yet.
    in_flight_requests: TaskTracker,
}

impl ConnectionState {
    /// When the process stops, waits until only event streams keep the connection open, because the client does not read
    /// their end.
    async fn until_only_streams_remain(&self) {
        self.in_flight_requests.close();
        loop {
            self.in_flight_requests.wait().await;
            tokio::time::sleep(STREAM_CLOSE_TIMEOUT).await;
            if !self.has_stream.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            if self.in_flight_requests.is_empty() {
                return;
            }
        }
    }
}

/// What surrounds the connection that hyper serves.
#[derive(Debug)]
pub(super) struct OpenConnection {
    /// Returned by hyper when its connection is dropped.
    pub(super) socket: Shared<Socket>,
    pub(super) state: Arc<ConnectionState>,
    /// The time in which the first request must arrive.
    pub(super) head_timeout: Duration,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
    pub(super) permit: ConnectionPermit,
}

impl OpenConnection {
    /// Serves the connection until its last response is written, or until it has been idle, and closes it. A client that does not
    /// react to the polite end of an idle connection is disconnected when it is `overdue`.
    pub(super) async fn serve<C>(
        self,
        mut connection: Pin<Box<C>>,
        idle: impl Future<Output = ()>,
        overdue: impl Future<Output = ()>,
    ) where
        C: GracefulConnection,
        C::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { socket, state, head_timeout, soft, hard, permit } = self;
        let first_request_timeout = async {
            tokio::time::sleep(head_timeout).await;
            if state.has_request.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
        };
        let force_close = async {
            hard.cancelled().await;
            tokio::time::sleep(FORCE_CLOSE_DELAY).await;
        };
        let only_streams_remain = async {
            soft.cancelled().await;
            state.until_only_streams_remain().await;
        };
        let ended: Result<(), Box<dyn Error + Send + Sync>> = {
            let (mut first_request_timeout, mut force_close, mut only_streams_remain) =
                (pin!(first_request_timeout), pin!(force_close), pin!(only_streams_remain));
            let (mut idle, mut overdue) = (pin!(idle), pin!(overdue));
            let mut is_ending = false;
            loop {
                tokio::select! {
                    // An error here is caused by the peer: it disconnected, or does not speak HTTP.
                    ended = connection.as_mut() => break ended.map_err(Into::into),
                    // hyper has no timeout for detecting the HTTP version and for the HTTP/2 handshake.
                    () = &mut first_request_timeout => return,
                    () = &mut force_close => return,
                    () = &mut only_streams_remain => return,
                    () = &mut overdue => return,
                    () = &mut idle, if !is_ending => {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = soft.cancelled(), if !is_ending => {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        };
        drop(connection);
        let is_sending =
            state.unread.load(Ordering::Acquire) > 0 || ended.is_err_and(|error| is_refused(&*error));
        // The reserve is small: it waits for nobody.
        let is_sending = is_sending && !permit.is_reserve();
        let Some(socket) = socket.reclaim() else { return };
        tokio::select! {
            () = linger::close(socket, is_sending) => {}
            () = async {
                soft.cancelled().await;
                tokio::time::sleep(STREAM_CLOSE_TIMEOUT).await;
            } => {}
        }
    }
}

/// Whether hyper answered a request itself because its head is malformed or too large, and did not read on.
fn is_refused(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// Answers the requests of a connection.
pub(super) fn service(
    router: Router,
    peer: Peer,
    state: Arc<ConnectionState>,
    tasks: Tasks,
) -> TowerToHyperService<
    impl tower::Service<http::Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone,
> {
    TowerToHyperService::new(service_fn(move |request: http::Request<Incoming>| {
        state.has_request.store(true, Ordering::Release);
        let (mut request, unread) = UnreadBody::lend(request);
        request.extensions_mut().insert(peer);
        // The body of a response to HEAD is never polled.
        let is_head = request.method() == Method::HEAD;
        let (response_future, state, tasks) =
            (router.clone().oneshot(request), Arc::clone(&state), tasks.clone());
        state.in_flight_requests.clone().track_future(async move {
            let mut response = response_future.await?;
            unread.finish(&mut response, &state.unread, &tasks);
            if is_head || !is_stream(&response) {
                return Ok(response);
            }
            state.has_stream.store(true, Ordering::Release);
            Ok(detect_stalls(response))
        })
    }))
}

/// Whether a response is an event stream, which has no end of its own.
fn is_stream(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
}
