//! The life of the process: signals, tracked tasks, draining. The only home of `tokio::spawn`.
//!
//! A stop has two steps. *Soft*: stop accepting and claiming, finish what runs. *Hard*: the grace
//! is over, or a second signal came: let go of what still runs.

pub mod lease;

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks have to let go, once they have been told that the grace is over.
const HARD_GRACE: Duration = Duration::from_secs(5);

/// A group of tracked tasks, and the stop that it shares with all other groups of the process.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
    failed: AtomicBool,
}

impl Tasks {
    /// The first group, with a stop of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another group under the same stop, to be drained by itself: the store's writers, which
    /// must outlive those who write.
    #[must_use]
    pub fn group(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: Arc::clone(&self.stop) }
    }

    /// Cancelled when the process is to stop: accept nothing, claim nothing, finish what runs.
    pub fn soft_stop(&self) -> CancellationToken {
        self.stop.soft.clone()
    }

    /// Cancelled when the grace is over: let go of what runs, hand it back.
    pub fn hard_stop(&self) -> CancellationToken {
        self.stop.hard.clone()
    }

    /// Whether a critical task has ended before its time: the exit code is then not zero.
    pub fn failed(&self) -> bool {
        self.stop.failed.load(Ordering::Acquire)
    }

    /// Tasks of this group that have not ended.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Runs a task that may end at any time. A panic in it is logged and ends it alone.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let caught = AssertUnwindSafe(task).catch_unwind();
        let watched = async move {
            if let Err(panic) = caught.await {
                tracing::error!(task.name = name, "task {name} panicked: {}", panic_text(&*panic));
            }
        };
        self.tracker.spawn(watched).abort_handle()
    }

    /// Runs a task until it ends or the soft stop comes, which drops it where it stands: for
    /// sweeps, polls and timers that hold nothing.
    pub fn spawn_until_stop<F>(&self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let soft = self.soft_stop();
        self.spawn(name, async move {
            soft.run_until_cancelled(task).await;
        })
    }

    /// Runs a task without which the process is of no use. If it ends, fails or panics before the
    /// soft stop, the process stops, and [`Tasks::failed`] says so.
    pub fn spawn_critical<F>(&self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = Arc::clone(&self.stop);
        let caught = AssertUnwindSafe(task).catch_unwind();
        let watched = async move {
            let cause = match caught.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
            };
            stop.critical_task_ended(name, cause.as_deref());
        };
        self.tracker.spawn(watched).abort_handle()
    }

    /// SIGTERM or SIGINT is the soft stop; the second of them is the hard one.
    ///
    /// The error is the system's, where no handler can be set.
    pub fn listen_for_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = Arc::clone(&self.stop);
        let listener = async move {
            next_signal(&mut terminate, &mut interrupt).await;
            tracing::info!("stopping: what runs may finish; a second signal ends it at once");
            stop.soft.cancel();
            next_signal(&mut terminate, &mut interrupt).await;
            tracing::warn!("second signal: what still runs is let go");
            stop.hard.cancel();
        };
        #[expect(clippy::disallowed_methods, reason = "not tracked: it listens until the process ends")]
        tokio::spawn(listener);
        Ok(())
    }

    /// Stops: soft at once, hard after `grace` or at a second signal. Returns when every task of
    /// this group has ended, whether they all did: what ignores the hard stop for 5 s is left.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.stop.soft.cancel();
        let hard = self.hard_stop();
        hard.run_until_cancelled(self.drain(grace)).await;
        hard.cancel();
        self.drain(HARD_GRACE).await
    }

    /// Waits until every task of this group has ended, at most `limit`; whether they all did.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

impl Stop {
    /// Notes the end of a critical task; `cause` is why it did not end well.
    fn critical_task_ended(&self, name: &'static str, cause: Option<&str>) {
        let early = !self.soft.is_cancelled();
        if early || cause.is_some() {
            let cause = cause.unwrap_or("it ended by itself");
            tracing::error!(task.name = name, "critical task {name} is gone: {cause}");
        }
        if early {
            self.failed.store(true, Ordering::Release);
            self.soft.cancel();
        }
    }
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Raises the limit of open files as far as the system lets us, for each connection is one.
/// Gives the limit that holds then.
pub fn raise_open_file_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Bounds what this process may take from now on: address space in bytes, and time of the processor, beyond which it
/// is killed. It leaves no core file.
pub fn limit_process_resources(memory: u64, cpu_time: Duration) -> io::Result<()> {
    let seconds = cpu_time.as_secs();
    rlimit::setrlimit(rlimit::Resource::CORE, 0, 0)?;
    rlimit::setrlimit(rlimit::Resource::CPU, seconds, seconds)?;
    rlimit::setrlimit(rlimit::Resource::AS, memory, memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_panic_ends_its_task_alone() {
        let tasks = Tasks::new();

        tasks.spawn("broken", async { panic!("on purpose") });

        assert!(tasks.drain(LONG).await);
        assert!(!tasks.failed());
        assert!(!tasks.soft_stop().is_cancelled());
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_early_stops_the_process() {
        for end in [|| Ok(()), || Err(anyhow::anyhow!("port in use")), || panic!("on purpose")] {
            let tasks = Tasks::new();

            tasks.spawn_critical("listener", async move { end() });

            tasks.soft_stop().cancelled().await;
            assert!(tasks.failed());
        }
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_after_the_soft_stop_is_well() {
        let tasks = Tasks::new();
        let soft = tasks.soft_stop();
        tasks.spawn_critical("listener", async move {
            soft.cancelled().await;
            Ok(())
        });

        assert!(tasks.shutdown(LONG).await);
        assert!(!tasks.failed());
    }

    #[tokio::test]
    async fn tasks_that_outlive_the_grace_see_the_hard_stop() {
        let tasks = Tasks::new();
        let hard = tasks.hard_stop();
        tasks.spawn("turn", async move { hard.cancelled().await });

        assert!(tasks.shutdown(Duration::ZERO).await);
    }

    #[tokio::test]
    async fn a_second_signal_cuts_the_grace_short() {
        let tasks = Tasks::new();
        let hard = tasks.hard_stop();
        tasks.spawn("turn", async move { hard.cancelled().await });

        let shutdown = tasks.shutdown(LONG);
        tasks.hard_stop().cancel();

        assert!(shutdown.await);
    }

    #[tokio::test]
    async fn what_does_not_end_is_left() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());

        assert!(!tasks.drain(Duration::ZERO).await);
        assert_eq!(tasks.running(), 1);
    }

    #[tokio::test]
    async fn a_background_task_is_dropped_at_the_soft_stop() {
        let tasks = Tasks::new();
        tasks.spawn_until_stop("sweeper", std::future::pending());

        assert!(tasks.shutdown(LONG).await);
        assert!(tasks.hard_stop().is_cancelled());
    }

    #[tokio::test]
    async fn a_group_outlives_the_others_and_shares_their_stop() {
        let tasks = Tasks::new();
        let writers = tasks.group();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        writers.spawn("writer", async move {
            let _ = receiver.await;
        });

        assert!(tasks.shutdown(LONG).await);
        assert_eq!(writers.running(), 1);
        drop(sender);
        assert!(writers.drain(LONG).await);
        assert!(writers.soft_stop().is_cancelled());
    }

    #[tokio::test]
    async fn the_first_signal_is_the_soft_stop_and_the_second_the_hard_one() {
        let terminate = || {
            let pid = std::process::id().to_string();
            let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
            assert!(sent.unwrap().success());
        };
        let tasks = Tasks::new();
        tasks.listen_for_signals().unwrap();

        terminate();
        tasks.soft_stop().cancelled().await;
        assert!(!tasks.hard_stop().is_cancelled());
        terminate();
        tasks.hard_stop().cancelled().await;

        assert!(!tasks.failed());
    }

    #[test]
    fn the_open_file_limit_is_never_lowered() {
        let (before, _) = rlimit::Resource::NOFILE.get().unwrap();

        assert!(raise_open_file_limit().unwrap() >= before);
    }
}
