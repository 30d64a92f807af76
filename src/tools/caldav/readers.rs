//! Reads the answers of CalDAV servers. Others may have written them to take long to read, so they are read on threads for blocking work,
//! few at once, and half of those for one workspace.

use super::error::CaldavError;
use crate::domain::ids::WorkspaceId;
use crate::fair_semaphore::{FairSemaphore, Shares};
use crate::outbound::AllowHosts;
use crate::tools::CallContext;

/// How many answers are read at once.
const MAX_CONCURRENT_READS: usize = 4;

/// The permits to read answers of CalDAV servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CalendarReaders(FairSemaphore<WorkspaceId>);

impl Default for CalendarReaders {
    fn default() -> Self {
        Self(FairSemaphore::new(Shares::half_of(MAX_CONCURRENT_READS)))
    }
}

/// On whose behalf a server is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub workspace: WorkspaceId,
    pub allow_hosts: &'a AllowHosts,
}

impl<'a> From<&CallContext<'a>> for Caller<'a> {
    fn from(context: &CallContext<'a>) -> Self {
        Self { workspace: context.workspace, allow_hosts: context.allow_hosts }
    }
}

impl CalendarReaders {
    /// Does `work` where it delays nothing else. If it panics, the answer cannot be read.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        workspace: WorkspaceId,
        work: impl FnOnce() -> Result<T, CaldavError> + Send + 'static,
    ) -> Result<T, CaldavError> {
        // If the caller leaves, the work goes on and keeps its permit.
        let permit = self.0.acquire(workspace, 1).await;
        let result = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        result.await.map_err(|_| CaldavError::Unreadable("it made the reader fail"))?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    const FIRST: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
    const SECOND: WorkspaceId = WorkspaceId(Uuid::from_u128(2));

    #[tokio::test]
    async fn a_reader_that_panics_is_an_answer_that_cannot_be_read() {
        let readers = CalendarReaders::default();
        for _ in 0..=MAX_CONCURRENT_READS {
            let read: Result<(), CaldavError> = readers.run(FIRST, || panic!("on purpose")).await;
            assert!(matches!(read, Err(CaldavError::Unreadable(_))));
        }
        assert!(readers.run(FIRST, || Ok(())).await.is_ok(), "its permit is free again");
    }

    #[tokio::test]
    async fn the_answers_of_one_workspace_leave_readers_to_another() {
        let readers = CalendarReaders::default();
        let (stop, stopped) = mpsc::channel::<()>();
        let stopped = std::sync::Arc::new(std::sync::Mutex::new(stopped));
        let mut slow: Vec<_> = (0..MAX_CONCURRENT_READS)
            .map(|_| {
                let stopped = std::sync::Arc::clone(&stopped);
                let wait = move || {
                    let _ = stopped.lock().unwrap().recv();
                    Ok(())
                };
                Box::pin(readers.run(FIRST, wait))
            })
            .collect();
        assert!(slow.iter_mut().all(|read| read.as_mut().now_or_never().is_none()));

        readers.run(SECOND, || Ok(())).await.unwrap();

        drop(stop);
        for read in slow {
            read.await.unwrap();
        }
    }
}
