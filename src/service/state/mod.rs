//! The state that one process keeps in memory: caches, limiters, and the requests that wait or follow.

mod document_write_limiter;
mod feed_cache;
mod followers;
mod history_cache;
mod key_cache;
mod lookup_queue;
mod model_calls;
mod rate_limit_backoff;
mod test_call_limiter;
mod version_cache;
mod waiters;

pub use document_write_limiter::DocumentWriteLimiter;
pub(super) use followers::Subscription;
pub use followers::{FollowerBounds, Followers};
pub use history_cache::HistoryCache;
pub use key_cache::KeyCache;
pub use model_calls::ModelCalls;
pub(super) use rate_limit_backoff::RateLimitBackoff;
pub use test_call_limiter::TestCallLimiter;
pub use version_cache::VersionCache;
pub use waiters::{Waiter, Waiters};
