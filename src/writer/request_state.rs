//! Where a request stands between its caller, who gives up after a while, and its
//! shard, which may have sent it to the store by then.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
/// It is in a transaction whose outcome is not known yet.
const SENT: u8 = 1;
/// Its caller was answered without the shard.
const ABANDONED: u8 = 2;

/// Shared by a request's caller and its shard.
#[derive(Debug, Default)]
pub(super) struct RequestState(AtomicU8);

impl RequestState {
    /// The shard decides it now; false where its caller has given up: then it must not happen.
    pub(super) fn mark_sent(&self) -> bool {
        self.0.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The transaction that it was in was not committed.
    pub(super) fn reset(&self) {
        // Where its caller gave up meanwhile, that stands.
        let _ = self.0.compare_exchange(SENT, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Nobody listens any more; whether it had been sent, so that it may have happened.
    pub(super) fn abandon(&self) -> bool {
        self.0.swap(ABANDONED, Ordering::AcqRel) == SENT
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABANDONED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_abandoned_before_it_was_sent_never_happens() {
        let state = RequestState::default();
        assert!(!state.abandon());
        assert!(!state.mark_sent());
    }

    #[test]
    fn what_was_sent_may_have_happened_unless_it_was_reset() {
        let sent = RequestState::default();
        assert!(sent.mark_sent());
        assert!(sent.abandon());
        sent.reset();
        assert!(sent.is_abandoned());

        let reset = RequestState::default();
        assert!(reset.mark_sent());
        reset.reset();
        assert!(!reset.abandon());
    }
}
