//! Where a request stands between its caller, who gives up after a while, and its
//! lane, which may have sent it to the store by then.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
/// It is in a transaction whose outcome is not known yet.
const SENT: u8 = 1;
/// Its caller was answered without the lane.
const GIVEN_UP: u8 = 2;

/// Shared by a request's caller and its lane.
#[derive(Debug, Default)]
pub(super) struct Standing(AtomicU8);

impl Standing {
    /// The lane decides it now; false where its caller has given up: then it must not happen.
    pub(super) fn send(&self) -> bool {
        self.0.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The transaction that it was in was not committed.
    pub(super) fn call_back(&self) {
        // Where its caller gave up meanwhile, that stands.
        let _ = self.0.compare_exchange(SENT, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Nobody listens any more; whether it had been sent, so that it may have happened.
    pub(super) fn give_up(&self) -> bool {
        self.0.swap(GIVEN_UP, Ordering::AcqRel) == SENT
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_before_it_was_sent_never_happens() {
        let standing = Standing::default();
        assert!(!standing.give_up());
        assert!(!standing.send());
    }

    #[test]
    fn what_was_sent_may_have_happened_unless_it_was_called_back() {
        let sent = Standing::default();
        assert!(sent.send());
        assert!(sent.give_up());
        sent.call_back();
        assert!(sent.is_given_up());

        let called_back = Standing::default();
        assert!(called_back.send());
        called_back.call_back();
        assert!(!called_back.give_up());
    }
}
