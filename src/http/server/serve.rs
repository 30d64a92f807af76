//! Accepts and serves connections. Limits apply to their number, to the size of a request's head, and to the time in which
//! a head must arrive and a client must read a response.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::{Method, header};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt as _, service_fn};

use super::limits::Peer;
use super::linger::{self, Shared, UnreadBody};
use super::stalled_reader::{StallDetector, detect_stalls};
use crate::config;
use crate::lifecycle::Tasks;

const MAX_HEADERS: usize = 64;
/// The maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const MAX_STREAMS: u32 = 64;
/// The time after which a silent HTTP/2 connection is pinged, and the time in which it must respond.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The delay after a failure to accept that is not the peer's fault, such as a lack of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long responses may still be written after the grace period, because waiting requests are answered only then.
const FORCE_CLOSE_DELAY: Duration = Duration::from_secs(3);
/// How long clients have, when the process stops, to read the end of an event stream, or to read their response if they are
/// still sending.
const STREAM_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Accepts connections until the soft stop. Each connection is served in its own task, which ends when its last request is
/// answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: Tasks,
    http: config::Http,
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(http.max_connections.min(Semaphore::MAX_PERMITS)));
    let soft = tasks.soft_stop();
    let server = Server { router, builder: builder(&tasks, &http), tasks, http };
    loop {
        let accepted = soft.run_until_cancelled(accept(&listener, &permits)).await;
        let Some((stream, peer, permit)) = accepted.transpose()? else { return Ok(()) };
        server.spawn(stream, peer, permit);
    }
}

/// Accepts the next connection as soon as the limit permits it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> anyhow::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, Peer(peer), permit)),
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Whether the peer disconnected before its connection was accepted, which is not a fault of this server.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn builder(tasks: &Tasks, http: &config::Http) -> Builder<TrackedExecutor> {
    let mut builder =
        Builder::new(TrackedExecutor { tasks: tasks.clone(), write_timeout: http.write_timeout });
    // This timeout also limits how long a connection may be idle between two requests.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(http.head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// Runs the streams of HTTP/2 connections as tracked tasks.
#[derive(Clone, Debug)]
struct TrackedExecutor {
    tasks: Tasks,
    write_timeout: Duration,
}

impl<F> Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let task = async {
            stream.await;
        };
        self.tasks.spawn("http stream", StallDetector::new(self.write_timeout).run(task));
    }
}

/// The state of a connection.
#[derive(Debug, Default)]
struct ConnectionState {
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

struct Server {
    router: Router,
    builder: Builder<TrackedExecutor>,
    tasks: Tasks,
    http: config::Http,
}

impl Server {
    fn spawn(&self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) {
        let (builder, router) = (self.builder.clone(), self.router.clone());
        let (head_timeout, write_timeout) = (self.http.head_timeout, self.http.write_timeout);
        let (soft, hard) = (self.tasks.soft_stop(), self.tasks.hard_stop());
        let tasks = self.tasks.clone();
        // Boxed: each of the futures around it would otherwise have room for it twice.
        let task = Box::pin(async move {
            let _permit = permit;
            // Otherwise a small response waits for the acknowledgement of the previous one.
            let _ = stream.set_nodelay(true);
            let state = Arc::new(ConnectionState::default());
            let service = service(router, peer, Arc::clone(&state), tasks);
            // Otherwise a client that stops reading keeps its response in memory, and its permit.
            let mut stream = Box::pin(TimeoutStream::new(stream));
            stream.as_mut().set_write_timeout_pinned(Some(write_timeout));
            let (shared, stream) = Shared::pair(stream);
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
            let ended = {
                let mut connection = pin!(builder.serve_connection(TokioIo::new(shared), service));
                let (mut first_request_timeout, mut force_close, mut only_streams_remain) =
                    (pin!(first_request_timeout), pin!(force_close), pin!(only_streams_remain));
                let mut is_stopping = false;
                loop {
                    tokio::select! {
                        // An error here is caused by the peer: it disconnected, or does not speak HTTP.
                        ended = connection.as_mut() => break ended,
                        // hyper has no timeout for detecting the HTTP version and for the HTTP/2 handshake.
                        () = &mut first_request_timeout => return,
                        () = &mut force_close => return,
                        () = &mut only_streams_remain => return,
                        () = soft.cancelled(), if !is_stopping => {
                            is_stopping = true;
                            connection.as_mut().graceful_shutdown();
                        }
                    }
                }
            };
            let is_sending =
                state.unread.load(Ordering::Acquire) > 0 || ended.is_err_and(|error| is_refused(&*error));
            let Some(stream) = stream.reclaim() else { return };
            tokio::select! {
                () = linger::close(stream, is_sending) => {}
                () = async {
                    soft.cancelled().await;
                    tokio::time::sleep(STREAM_CLOSE_TIMEOUT).await;
                } => {}
            }
        });
        self.tasks.spawn("connection", StallDetector::new(write_timeout).run(task));
    }
}

/// Whether hyper answered a request itself because its head is malformed or too large, and did not read on.
fn is_refused(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

fn service(
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
