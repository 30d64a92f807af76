//! Accepts connections. Limits apply to their number, to the size of a request's head, and to the time in which a head must
//! arrive and a client must read a response.

use std::error::Error;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::admission::{Admission, ConnectionPermit};
use super::connection::{ConnectionState, OpenConnection, Requests, service, socket};
use super::http2::{self, OpenStreams};
use super::limits::Peer;
use super::linger::Shared;
use super::stalled_reader::StallDetector;
use super::unsent::UnsentLimit;
use crate::config;
use crate::lifecycle::Tasks;

pub(super) const MAX_HEADERS: usize = 64;
/// The maximum size of a request's head, in bytes.
pub(super) const MAX_HEAD: usize = 32 * 1024;
/// The delay after a failure to accept that is not the peer's fault, such as a lack of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// The times of a connection of the reserve: for the head of its only request, and for all of it. The check of the database
/// takes up to 2 s.
const RESERVE_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
const RESERVE_LIFETIME: Duration = Duration::from_secs(5);

/// The routes of a listener.
#[derive(Clone, Debug)]
pub struct Routers {
    pub all: Router,
    /// Those of connections beyond the limit, each of which has one request, and of requests that are refused.
    pub reserve: Router,
}

/// Accepts connections until the soft stop. Each connection is served in its own task, which ends when its last request is
/// answered. `proxies` (`limits.trusted_proxies`) have no limits by address.
pub async fn serve(
    listener: TcpListener,
    routers: Routers,
    tasks: Tasks,
    http: config::Http,
    proxies: Arc<[IpNet]>,
) {
    let admission = Admission::new(&http, Arc::clone(&proxies));
    let unsent = UnsentLimit::new(http.max_unsent.0, proxies);
    let soft = tasks.soft_stop();
    let mut reserve_http1 = http1_builder(RESERVE_HEAD_TIMEOUT);
    reserve_http1.keep_alive(false);
    let http1 = http1_builder(http.head_timeout);
    let server = Server { routers, http1, reserve_http1, tasks, http, unsent };
    while let Some((stream, peer)) = soft.run_until_cancelled(accept(&listener)).await {
        // Without a permit it is closed here.
        if let Some(permit) = admission.admit(peer.ip()) {
            server.spawn(stream, Peer(peer), permit);
        }
    }
}

/// Accepts the next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(ACCEPT_BACKOFF).await;
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
    routers: Routers,
    http1: http1::Builder,
    reserve_http1: http1::Builder,
    tasks: Tasks,
    http: config::Http,
    unsent: UnsentLimit,
}

impl Server {
    fn spawn(&self, stream: TcpStream, peer: Peer, permit: ConnectionPermit) {
        let is_reserve = permit.is_reserve();
        let (router, head_timeout) = if is_reserve {
            (&self.routers.reserve, RESERVE_HEAD_TIMEOUT)
        } else {
            (&self.routers.all, self.http.head_timeout)
        };
        let state = Arc::new(ConnectionState::default());
        let service = service(Requests {
            router: router.clone(),
            refusals: self.routers.reserve.clone(),
            peer,
            state: Arc::clone(&state),
            tasks: self.tasks.clone(),
            unsent: self.unsent.connection(peer.0.ip()),
        });
        let (shared, socket) = Shared::pair(socket(stream, self.http.write_timeout));
        let io = TokioIo::new(shared);
        let (soft, hard) = (self.tasks.soft_stop(), self.tasks.hard_stop());
        let open = OpenConnection { socket, state, head_timeout, soft, hard, permit };
        if is_reserve {
            let connection = self.reserve_http1.serve_connection(io, service);
            self.run(open, connection, pending(), sleep(RESERVE_LIFETIME));
        } else if self.http.h2c {
            let streams = OpenStreams::default();
            let builder = http2::builder(&self.tasks, &self.http, streams.clone());
            let connection = builder.serve_connection(io, service).into_owned();
            let timeout = self.http.idle_timeout;
            let idle = streams.clone().until_idle(timeout);
            self.run(open, connection, idle, streams.until_idle(timeout.saturating_mul(2)));
        } else {
            self.run(open, self.http1.serve_connection(io, service), pending(), pending());
        }
    }

    fn run<C>(
        &self,
        open: OpenConnection,
        connection: C,
        idle: impl Future<Output = ()> + Send + 'static,
        overdue: impl Future<Output = ()> + Send + 'static,
    ) where
        C: GracefulConnection + Send + 'static,
        C::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // Boxed: each of the futures around them would otherwise have room for them twice.
        let task = Box::pin(open.serve(Box::pin(connection), idle, overdue));
        let detector = StallDetector::new(self.http.write_timeout, self.tasks.soft_stop());
        self.tasks.spawn("connection", detector.run(task));
    }
}
