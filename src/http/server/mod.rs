//! The server: accepted connections, their limits, and what surrounds every request.

mod health;
mod limits;
mod linger;
mod observe;
mod serve;
mod stalled_reader;

pub use limits::Limits;
pub(super) use limits::{Peer, RateLimitStatus, RequestKind, insert_headers};
pub(super) use observe::{X_REQUEST_ID, observe};
pub use serve::serve;

pub(super) use health::routes;
