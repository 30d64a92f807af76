//! Accepts connections. Limits apply to their number, to the size of a request's head, and to the time in which a head must
//! arrive and a client must read a response.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{ConnectionState, OpenConnection, service, socket};
use super::http2::{self, StreamExecutor};
use super::limits::Peer;
use super::linger::Shared;
use super::stalled_reader::StallDetector;
use crate::config;
use crate::lifecycle::Tasks;

pub(super) const MAX_HEADERS: usize = 64;
/// The maximum size of a request's head, in bytes.
pub(super) const MAX_HEAD: usize = 32 * 1024;
/// The delay after a failure to accept that is not the peer's fault, such as a lack of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

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
    let server = Server { router, protocol: Protocol::new(&tasks, &http), tasks, http };
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

/// The versions of HTTP that clients may speak.
enum Protocol {
    Http1(http1::Builder),
    /// `http.h2c`: also HTTP/2. Detecting the version costs another read buffer for each connection.
    Http1AndHttp2(auto::Builder<StreamExecutor>),
}

impl Protocol {
    fn new(tasks: &Tasks, http: &config::Http) -> Self {
        if http.h2c {
            return Self::Http1AndHttp2(http2::builder(tasks, http));
        }
        Self::Http1(http1_builder(http.head_timeout))
    }
}

fn http1_builder(head_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // This timeout also limits how long a connection may be idle between two requests.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
}

struct Server {
    router: Router,
    protocol: Protocol,
    tasks: Tasks,
    http: config::Http,
}

impl Server {
    fn spawn(&self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) {
        let state = Arc::new(ConnectionState::default());
        let service = service(self.router.clone(), peer, Arc::clone(&state), self.tasks.clone());
        let (shared, socket) = Shared::pair(socket(stream, self.http.write_timeout));
        let io = TokioIo::new(shared);
        let open = OpenConnection {
            socket,
            state,
            head_timeout: self.http.head_timeout,
            soft: self.tasks.soft_stop(),
            hard: self.tasks.hard_stop(),
            permit,
        };
        match &self.protocol {
            Protocol::Http1(builder) => self.run(open, builder.serve_connection(io, service)),
            Protocol::Http1AndHttp2(builder) => {
                self.run(open, builder.serve_connection(io, service).into_owned());
            }
        }
    }

    fn run<C>(&self, open: OpenConnection, connection: C)
    where
        C: GracefulConnection + Send + 'static,
        C::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // Boxed: each of the futures around them would otherwise have room for them twice.
        let task = Box::pin(open.serve(Box::pin(connection)));
        self.tasks.spawn("connection", StallDetector::new(self.http.write_timeout).run(task));
    }
}
