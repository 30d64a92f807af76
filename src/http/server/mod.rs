//! The server: connections, rate limits, and the layer around every request.

mod admission;
mod connection;
mod http2;
mod limits;
mod linger;
mod network_count;
mod observe;
mod response_body;
mod serve;
mod stalled_reader;
mod unsent;

pub use limits::Limits;
pub(super) use limits::{Address, Caller, Peer, RateLimitStatus, RequestKind, StreamPermit, insert_headers};
pub(super) use observe::{RequestId, X_REQUEST_ID, observe};
pub use serve::{Routers, serve};
