//! The loop that accepts connections: bounded in number, in the size of a head, and in time: for a
//! head to come, and for a client to take what is sent.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
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
use super::taking::{Taking, watched};
use crate::config;
use crate::lifecycle::Tasks;

const MAX_HEADERS: usize = 64;
/// Of a request's head, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const MAX_STREAMS: u32 = 64;
/// How long an HTTP/2 connection may be silent before it is asked whether it lives, and then to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long to wait after an accept that failed of us: no file is free, no memory.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How long answers may still be written once the grace is over: waiting requests are told of it then.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long the readers of streams have to take the end of them, when the process stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Accepts connections until the soft stop, and serves each in a task of its own, which ends when
/// its last request is answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: Tasks,
    http: config::Http,
) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(http.max_connections.min(Semaphore::MAX_PERMITS)));
    let soft = tasks.soft();
    let server = Server { router, builder: builder(&tasks, &http), tasks, http };
    loop {
        let accepted = soft.run_until_cancelled(accept(&listener, &room)).await;
        let Some((stream, peer, permit)) = accepted.transpose()? else { return Ok(()) };
        server.spawn(stream, peer, permit);
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> anyhow::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, Peer(peer), permit)),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!("no connection could be accepted: {error}");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// The peer left before it was accepted: nothing is wrong here.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn builder(tasks: &Tasks, http: &config::Http) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked { tasks: tasks.clone(), write_timeout: http.write_timeout });
    // The head's time-out is also how long a connection may be idle between two requests.
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
struct Tracked {
    tasks: Tasks,
    write_timeout: Duration,
}

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let writes = async {
            stream.await;
        };
        self.tasks.spawn("http stream", Taking::new(self.write_timeout).watch(writes));
    }
}

/// What has been seen of a connection.
#[derive(Debug, Default)]
struct Seen {
    /// A request has come.
    request: AtomicBool,
    /// One was answered with a stream of events.
    stream: AtomicBool,
    /// The requests that have no answer yet.
    unanswered: TaskTracker,
}

impl Seen {
    /// Waits, once the process stops, until a connection is held by streams alone whose reader does
    /// not take the end of them.
    async fn is_only_held(&self) {
        self.unanswered.close();
        loop {
            self.unanswered.wait().await;
            tokio::time::sleep(FAREWELL).await;
            if !self.stream.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            if self.unanswered.is_empty() {
                return;
            }
        }
    }
}

struct Server {
    router: Router,
    builder: Builder<Tracked>,
    tasks: Tasks,
    http: config::Http,
}

impl Server {
    fn spawn(&self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) {
        let (builder, router) = (self.builder.clone(), self.router.clone());
        let (head_timeout, write_timeout) = (self.http.head_timeout, self.http.write_timeout);
        let (soft, hard) = (self.tasks.soft(), self.tasks.hard());
        let serving = async move {
            let _permit = permit;
            // A small answer must not wait for the acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            let seen = Arc::new(Seen::default());
            let service = service(router, peer, Arc::clone(&seen));
            // A client that stops reading would otherwise keep what waits for it, and its place.
            let mut stream = Box::pin(TimeoutStream::new(stream));
            stream.as_mut().set_write_timeout_pinned(Some(write_timeout));
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let silence = async {
                tokio::time::sleep(head_timeout).await;
                if seen.request.load(Ordering::Acquire) {
                    std::future::pending::<()>().await;
                }
            };
            let let_go = async {
                hard.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let is_only_held = async {
                soft.cancelled().await;
                seen.is_only_held().await;
            };
            let (mut silence, mut let_go, mut is_only_held) =
                (pin!(silence), pin!(let_go), pin!(is_only_held));
            let mut is_stopping = false;
            loop {
                tokio::select! {
                    // What goes wrong on a connection is its peer's: it is gone, or speaks no HTTP.
                    _ = connection.as_mut() => return,
                    // The version is found out, and HTTP/2 begun, without a time-out of their own.
                    () = &mut silence => return,
                    () = &mut let_go => return,
                    () = &mut is_only_held => return,
                    () = soft.cancelled(), if !is_stopping => {
                        is_stopping = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        };
        self.tasks.spawn("connection", Taking::new(write_timeout).watch(serving));
    }
}

fn service(
    router: Router,
    peer: Peer,
    seen: Arc<Seen>,
) -> TowerToHyperService<
    impl tower::Service<http::Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone,
> {
    TowerToHyperService::new(service_fn(move |request: http::Request<Incoming>| {
        seen.request.store(true, Ordering::Release);
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer);
        // Its body is never asked for.
        let is_head = request.method() == Method::HEAD;
        let (answering, seen) = (router.clone().oneshot(request), Arc::clone(&seen));
        seen.unanswered.clone().track_future(async move {
            let response = answering.await?;
            if is_head || !is_stream(&response) {
                return Ok(response);
            }
            seen.stream.store(true, Ordering::Release);
            Ok(watched(response))
        })
    }))
}

/// Whether an answer has no end of its own.
fn is_stream(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
}
