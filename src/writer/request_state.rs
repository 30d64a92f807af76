//! The state of a request, shared by its caller, which gives up after a while, and its shard, which may have sent the request
//! to the database by then.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
/// The request is in a transaction whose outcome is not known yet.
const SENT: u8 = 1;
/// The caller was answered without the shard.
const ABANDONED: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct RequestState(AtomicU8);

impl RequestState {
    /// The shard is about to decide the request; false if its caller has given up: then it must not happen.
    pub(super) fn mark_sent(&self) -> bool {
        self.0.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The transaction of the request was not committed.
    pub(super) fn reset(&self) {
        // If its caller gave up meanwhile, it stays abandoned.
        let _ = self.0.compare_exchange(SENT, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The caller gives up. Returns whether the request had been sent, so that it may have happened.
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
    fn a_request_abandoned_before_it_was_sent_is_not_decided() {
        let state = RequestState::default();
        assert!(!state.abandon());
        assert!(!state.mark_sent());
    }

    #[test]
    fn a_sent_request_may_have_happened_unless_it_was_reset() {
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
