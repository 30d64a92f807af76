//! Failures of work that is repeated several times a second: each kind is logged at most once a minute.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_mins(1);

/// When each kind of failure was logged last.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<HashMap<&'static str, Instant>>);

impl FailureLog {
    /// The output of repeated work. `failure` is a sentence that says what failed, such as "turns could not be claimed".
    pub(super) fn record<T, E: Error + 'static>(
        &self,
        failure: &'static str,
        result: Result<T, E>,
    ) -> Option<T> {
        if let Err(error) = &result
            && self.is_due(failure, Instant::now())
        {
            tracing::warn!(error = error as &dyn Error, "{failure}; logged at most once a minute");
        }
        result.ok()
    }

    fn is_due(&self, failure: &'static str, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.get(failure).is_none_or(|last| now.duration_since(*last) >= INTERVAL);
        if is_due {
            logged.insert(failure, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn each_kind_of_failure_is_logged_once_a_minute() {
        let (log, now) = (FailureLog::default(), Instant::now());

        assert!(log.is_due("a failed", now) && log.is_due("b failed", now));
        assert!(!log.is_due("a failed", now + Duration::from_secs(59)));
        assert!(log.is_due("a failed", now + INTERVAL));
    }

    #[test]
    fn an_output_is_returned() {
        let log = FailureLog::default();

        assert_eq!(log.record("a failed", Ok::<_, io::Error>(7)), Some(7));
        assert_eq!(log.record("a failed", Err::<(), _>(io::Error::other("down"))), None);
    }
}
