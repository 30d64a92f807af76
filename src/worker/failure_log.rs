//! Failures of work that is repeated all the time: logged when they begin and when they end, and not at each repetition.

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

/// What is failing at the moment.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<HashSet<&'static str>>);

impl FailureLog {
    /// The output of repeated work. `failure` is a sentence that says what failed, such as "turns could not be claimed".
    pub(super) fn record<T, E: Error + 'static>(
        &self,
        failure: &'static str,
        result: Result<T, E>,
    ) -> Option<T> {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(output) => {
                if failing.remove(failure) {
                    tracing::info!(failure, "a failure has ended");
                }
                Some(output)
            }
            Err(error) => {
                if failing.insert(failure) {
                    tracing::warn!(
                        error = &error as &dyn Error,
                        "{failure}; repeated failures are not logged"
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_is_known_until_its_work_succeeds() {
        let log = FailureLog::default();
        let fail = |failure| log.record(failure, Err::<(), _>(io::Error::other("down")));
        let failing = || log.0.lock().unwrap().len();

        assert_eq!((fail("a failed"), fail("a failed"), fail("b failed")), (None, None, None));
        assert_eq!(failing(), 2);
        assert_eq!(log.record("a failed", Ok::<_, io::Error>(7)), Some(7));
        assert_eq!(failing(), 1);
    }
}
