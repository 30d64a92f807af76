//! The state that one process keeps in memory: caches, limiters, and the requests that wait or follow.

mod feed_cache;
mod followers;
mod history_cache;
mod key_cache;
mod model_calls;
mod rate_limit_backoff;
mod turn_streams;
mod version_cache;
mod waiters;
mod workspace_limiter;

pub(super) use followers::Subscription;
pub use followers::{FollowerBounds, Followers};
pub use history_cache::HistoryCache;
pub use key_cache::{KeyCache, StoredKey};
pub use model_calls::ModelCalls;
pub(super) use rate_limit_backoff::RateLimitBackoff;
pub(super) use turn_streams::{MAX_CALL, MAX_PIECE, ReadOutcome, TurnReader, TurnStream};
pub use turn_streams::{TurnPart, TurnStreams};
pub use version_cache::VersionCache;
pub use waiters::{Waiter, Waiters};
pub use workspace_limiter::WorkspaceLimiter;
