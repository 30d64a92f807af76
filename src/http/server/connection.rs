//! One connection: its requests, the times in which a client must act, and its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Uri};
use hyper::body::Incoming;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::{ServiceExt as _, service_fn};

use super::admission::ConnectionPermit;
use super::limits::Peer;
use super::linger::{self, Shared, UnreadBody};
use super::response_body::{WatchedBody, acquire_permit};
use super::stalled_reader::{STOP_READ_TIMEOUT, StallDetector};
use super::unsent::Unsent;
use crate::lifecycle::Tasks;

/// How long responses may still be written after the grace period, because waiting requests are answered only then.
const FORCE_CLOSE_DELAY: Duration = Duration::from_secs(3);

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
    /// The number of bodies that were not read before their request was answered; the client may still be sending them.
    unread: Arc<AtomicUsize>,
    /// The requests whose response is not sent yet.
    in_flight_requests: TaskTracker,
}

impl ConnectionState {
    /// When the process stops, waits until the client has read all responses and sends nothing more: it may keep the connection
    /// open, or not react to the polite end of it.
    async fn until_answered(&self) {
        let detector = StallDetector::current();
        self.in_flight_requests.close();
        loop {
            self.in_flight_requests.wait().await;
            // Over HTTP/1 hyper drops a body of known size before its last frames are read.
            poll_fn(|context| detector.poll_fewer_than(1, context)).await;
            tokio::time::sleep(STOP_READ_TIMEOUT).await;
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
        let answered = async {
            soft.cancelled().await;
            state.until_answered().await;
        };
        let ended: Result<(), Box<dyn Error + Send + Sync>> = {
            let (mut first_request_timeout, mut force_close, mut answered) =
                (pin!(first_request_timeout), pin!(force_close), pin!(answered));
            let (mut idle, mut overdue) = (pin!(idle), pin!(overdue));
            let mut is_ending = false;
            loop {
                tokio::select! {
                    // An error here is caused by the peer: it disconnected, or does not speak HTTP.
                    ended = connection.as_mut() => break ended.map_err(Into::into),
                    // hyper has no timeout for detecting the HTTP version and for the HTTP/2 handshake.
                    () = &mut first_request_timeout => return,
                    () = &mut force_close => return,
                    () = &mut answered => break Ok(()),
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
                tokio::time::sleep(STOP_READ_TIMEOUT).await;
            } => {}
        }
    }
}

/// Whether hyper answered a request itself because its head is malformed or too large, and did not read on.
fn is_refused(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// What the requests of a connection have in common.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) router: Router,
    /// Answers requests that are refused because too much is unread.
    pub(super) refusals: Router,
    pub(super) peer: Peer,
    pub(super) state: Arc<ConnectionState>,
    pub(super) tasks: Tasks,
    pub(super) unsent: Unsent,
}

/// Answers the requests of a connection.
pub(super) fn service(
    requests: Requests,
) -> TowerToHyperService<
    impl tower::Service<
        http::Request<Incoming>,
        Response = http::Response<WatchedBody>,
        Error = Infallible,
        Future: Send,
    > + Clone,
> {
    let requests = Arc::new(requests);
    TowerToHyperService::new(service_fn(move |request| {
        requests.state.has_request.store(true, Ordering::Release);
        let in_flight = requests.state.in_flight_requests.token();
        Arc::clone(&requests).answer(request, in_flight)
    }))
}

impl Requests {
    async fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
        in_flight: TaskTrackerToken,
    ) -> Result<http::Response<WatchedBody>, Infallible> {
        let (mut request, unread) = UnreadBody::lend(request);
        request.extensions_mut().insert(self.peer);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // Before the handler, which would only add to what is unread.
        let response = if self.has_room().await {
            self.router.clone().oneshot(request).await?
        } else {
            drop(request);
            self.refuse(&method, &uri).await?
        };
        let permit = acquire_permit(&response, &self.unsent, !method.is_safe());
        let (mut response, permit) = if let Ok(permit) = permit {
            (response, permit)
        } else {
            drop(response);
            (self.refuse(&method, &uri).await?, None)
        };
        unread.finish(&mut response, &self.state.unread, &self.tasks);
        Ok(response.map(|body| WatchedBody::new(body, permit, self.unsent.clone(), in_flight)))
    }

    /// Waits until the client has read enough of its earlier responses; false if the process stops before.
    async fn has_room(&self) -> bool {
        if self.unsent.has_room() {
            return true;
        }
        let soft = self.tasks.soft_stop();
        soft.run_until_cancelled(self.unsent.wait_for_room()).await.is_some()
    }

    async fn refuse(&self, method: &Method, uri: &Uri) -> Result<Response, Infallible> {
        let mut request = http::Request::new(Body::empty());
        request.method_mut().clone_from(method);
        request.uri_mut().clone_from(uri);
        self.refusals.clone().oneshot(request).await
    }
}
