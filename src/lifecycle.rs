//! The life of the process: signals, tracked tasks, draining. The only module that calls `tokio::spawn`.
//!
//! A stop has two steps. *Soft*: accept and claim nothing, finish running work. *Hard*: the grace period is over or a
//! second signal came; running work is cancelled or handed back.

pub mod lease;

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pause before a task that panicked is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// For tasks to end after the hard stop.
const HARD_GRACE: Duration = Duration::from_secs(5);

/// For blocking tasks, such as a name that is being resolved, to end after everything else. They cannot be cancelled.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);

/// Runs a future to its end, and drops the runtime without waiting for blocking tasks: the resolver of the system may
/// hang for half a minute on a name that no longer resolves.
pub fn run<F: Future>(runtime: Runtime, work: F) -> F::Output {
    let output = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKING_GRACE);
    output
}

/// SIGTERM and SIGINT. They do not end the process from the moment this exists; a signal that arrives before
/// [`Tasks::stop_at`] is not lost.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A group of tracked tasks. All groups of a process share one stop.
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
    /// The first group, with a new stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another group under the same stop that is drained separately, such as the writers, which must outlive the
    /// tasks that write.
    #[must_use]
    pub fn group(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: Arc::clone(&self.stop) }
    }

    /// Cancelled at the soft stop: accept nothing, claim nothing, finish running work.
    pub fn soft_stop(&self) -> CancellationToken {
        self.stop.soft.clone()
    }

    /// Cancelled at the hard stop: hand back running work.
    pub fn hard_stop(&self) -> CancellationToken {
        self.stop.hard.clone()
    }

    /// Whether a critical task ended too early: then the exit code is not zero.
    pub fn failed(&self) -> bool {
        self.stop.failed.load(Ordering::Acquire)
    }

    /// The number of tasks of this group that have not ended.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Runs a task that may end at any time. A panic is logged and ends only this task.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // No async block: it would have room for the task twice.
        let watched = AssertUnwindSafe(task).catch_unwind().map(move |ended| {
            if let Err(panic) = ended {
                tracing::error!(task.name = name, "task {name} panicked: {}", panic_text(&*panic));
            }
        });
        self.tracker.spawn(watched).abort_handle()
    }

    /// Runs a task that is cancelled at the soft stop: sweeps, polls and timers without state.
    pub fn spawn_until_stop<F>(&self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let soft = self.soft_stop();
        self.spawn(name, async move {
            soft.run_until_cancelled(task).await;
        })
    }

    /// Runs a critical task. If it ends, fails or panics before the soft stop, the process stops and
    /// [`Tasks::failed`] is true.
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

    /// Runs a critical task without state of its own. If it panics, it is started again after a second; if it ends before the
    /// soft stop, the process stops.
    pub fn spawn_restarted<F>(&self, name: &'static str, task: impl Fn() -> F + Send + 'static) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_critical(name, async move {
            while let Err(panic) = AssertUnwindSafe(task()).catch_unwind().await {
                let text = panic_text(&*panic);
                tracing::error!(task.name = name, "task {name} panicked and is started again: {text}");
                tokio::time::sleep(RESTART_DELAY).await;
            }
            Ok(())
        })
    }

    /// The first SIGTERM or SIGINT is the soft stop, the second the hard stop.
    pub fn stop_at(&self, mut signals: Signals) {
        let stop = Arc::clone(&self.stop);
        let listener = async move {
            signals.next().await;
            tracing::info!("stopping: running work may finish; a second signal cancels it");
            stop.soft.cancel();
            signals.next().await;
            tracing::warn!("second signal: running work is cancelled");
            stop.hard.cancel();
        };
        #[expect(clippy::disallowed_methods, reason = "not tracked: it listens until the process ends")]
        tokio::spawn(listener);
    }

    /// Stops: soft at once, hard after `grace` or at a second signal. Returns whether every task of this group has
    /// ended; tasks that ignore the hard stop for 5 s are abandoned.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.stop.soft.cancel();
        let hard = self.hard_stop();
        hard.run_until_cancelled(self.drain(grace)).await;
        hard.cancel();
        self.drain(HARD_GRACE).await
    }

    /// Waits at most `limit` for every task of this group to end; whether they did.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

impl Stop {
    /// Records the early end of a critical task and its cause.
    fn critical_task_ended(&self, name: &'static str, cause: Option<&str>) {
        let early = !self.soft.is_cancelled();
        if early || cause.is_some() {
            let cause = cause.unwrap_or("it ended by itself");
            tracing::error!(task.name = name, "critical task {name} ended: {cause}");
        }
        if early {
            self.failed.store(true, Ordering::Release);
            self.soft.cancel();
        }
    }
}

/// The text of a panic that was caught.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Raises the limit of open files as far as the system allows, because each connection is one. Returns the new limit.
pub fn raise_open_file_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Limits the address space (bytes) and processor time of this process, which is killed beyond them. It leaves no
/// core file.
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
    async fn a_task_that_panics_is_started_again_and_the_process_goes_on() {
        let tasks = Tasks::new();
        let soft = tasks.soft_stop();
        let (sender, mut starts) = tokio::sync::mpsc::unbounded_channel();
        let is_first = AtomicBool::new(true);
        tasks.spawn_restarted("poller", move || {
            let (soft, panics) = (soft.clone(), is_first.swap(false, Ordering::AcqRel));
            sender.send(()).unwrap();
            async move {
                assert!(!panics, "on purpose");
                soft.cancelled().await;
            }
        });

        assert_eq!(starts.recv().await, Some(()));
        assert_eq!(starts.recv().await, Some(()));
        assert!(!tasks.soft_stop().is_cancelled());
        assert!(tasks.shutdown(LONG).await);
        assert!(!tasks.failed());
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
        let signals = Signals::catch().unwrap();

        terminate();
        tasks.stop_at(signals);
        tasks.soft_stop().cancelled().await;
        assert!(!tasks.hard_stop().is_cancelled());
        terminate();
        tasks.hard_stop().cancelled().await;

        assert!(!tasks.failed());
    }

    #[test]
    fn a_blocking_task_that_hangs_does_not_delay_the_end() {
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let begun = std::time::Instant::now();

        run(Runtime::new().unwrap(), async move {
            drop(tokio::task::spawn_blocking(move || hang.recv()));
        });

        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(release);
    }

    #[test]
    fn the_open_file_limit_is_never_lowered() {
        let (before, _) = rlimit::Resource::NOFILE.get().unwrap();

        assert!(raise_open_file_limit().unwrap() >= before);
    }
}
