//! Detects clients that stop reading their response. The socket does not show it: over HTTP/2 it stays active while the window
//! of one stream is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long clients have, when the process stops, to read a frame of their response, or to read all of it if they are still
/// sending.
pub(super) const STOP_READ_TIMEOUT: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// The detector of the task that writes the response: the stream's task over HTTP/2, the connection's over HTTP/1.
    static STALL_DETECTOR: StallDetector;
}

/// Watches how a client reads the frames that a task writes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct StallDetector(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The time in which the client must read a frame.
    timeout: Duration,
    soft: CancellationToken,
    frames: Mutex<Frames>,
    /// Starts the timer again.
    started: Notify,
}

/// The frames that were handed to hyper and not yet to the socket.
#[derive(Debug, Default)]
struct Frames {
    count: usize,
    /// When the client last read one, or got the first; none if it has read all.
    since: Option<Instant>,
    /// Whether the timer waits for a frame. A running timer is not woken for each.
    is_timer_parked: bool,
    /// The body that waits until there are fewer.
    waiting: Option<Waker>,
}

/// The bytes of a frame, which the client has read when they are dropped.
#[derive(Debug)]
struct WatchedFrame {
    bytes: Bytes,
    detector: StallDetector,
}

impl StallDetector {
    /// `timeout` is the time to read one frame; after the soft stop it is at most [`STOP_READ_TIMEOUT`].
    pub(super) fn new(timeout: Duration, soft: CancellationToken) -> Self {
        Self(Arc::new(Shared { timeout, soft, frames: Mutex::default(), started: Notify::default() }))
    }

    /// The detector of this task. Outside of [`StallDetector::run`] it has no effect.
    pub(super) fn current() -> Self {
        STALL_DETECTOR.try_with(Self::clone).unwrap_or_default()
    }

    /// Runs a task that writes responses, and drops it if the client stalls: over HTTP/2 that resets only the stream, over
    /// HTTP/1 it closes the connection.
    pub(super) async fn run(self, task: impl Future<Output = ()>) {
        let detector = self.clone();
        tokio::select! {
            () = STALL_DETECTOR.scope(self, task) => {}
            () = detector.until_stalled() => {}
        }
    }

    /// A frame, which the client must read in time.
    pub(super) fn watch(&self, bytes: Bytes) -> Bytes {
        let mut frames = self.frames();
        frames.count += 1;
        frames.since.get_or_insert_with(Instant::now);
        if std::mem::take(&mut frames.is_timer_parked) {
            self.0.started.notify_one();
        }
        drop(frames);
        Bytes::from_owner(WatchedFrame { bytes, detector: self.clone() })
    }

    /// Waits until fewer frames than `count` are unread. One task can wait at a time.
    pub(super) fn poll_fewer_than(&self, count: usize, context: &Context<'_>) -> Poll<()> {
        let mut frames = self.frames();
        if frames.count < count {
            return Poll::Ready(());
        }
        frames.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    async fn until_stalled(&self) {
        let Shared { timeout, soft, .. } = &*self.0;
        if soft.run_until_cancelled(self.until_unread_for(*timeout)).await.is_none() {
            self.restart();
            self.until_unread_for(STOP_READ_TIMEOUT.min(*timeout)).await;
        }
    }

    /// Gives the client its time from now on.
    fn restart(&self) {
        if let Some(since) = &mut self.frames().since {
            *since = Instant::now();
        }
    }

    /// Waits until the client has read no frame for this long, although there is one.
    async fn until_unread_for(&self, timeout: Duration) {
        loop {
            let Some(since) = self.since_or_park() else {
                self.0.started.notified().await;
                continue;
            };
            if since.elapsed() >= timeout {
                return;
            }
            sleep_until(since + timeout).await;
        }
    }

    fn since_or_park(&self) -> Option<Instant> {
        let mut frames = self.frames();
        frames.is_timer_parked = frames.since.is_none();
        frames.since
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.0.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for WatchedFrame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for WatchedFrame {
    fn drop(&mut self) {
        let mut frames = self.detector.frames();
        frames.count -= 1;
        frames.since = (frames.count > 0).then(Instant::now);
        let waiting = frames.waiting.take();
        drop(frames);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_mins(10);

    fn frame() -> Bytes {
        StallDetector::current().watch(Bytes::from_static(b"frame"))
    }

    #[tokio::test]
    async fn a_client_that_reads_no_frame_in_time_is_cut() {
        let started = Instant::now();

        let task = async {
            let _unread = frame();
            pending::<()>().await;
        };
        StallDetector::new(SHORT, CancellationToken::new()).run(task).await;

        assert!(started.elapsed() >= SHORT && started.elapsed() < LONG, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_reads_is_not_cut_however_long_it_takes() {
        let mut frames = 0;

        let task = async {
            let (mut unread, started) = (frame(), Instant::now());
            while started.elapsed() < 3 * SHORT {
                sleep(SHORT / 10).await;
                // The next frame is there before the last one is read.
                unread = frame();
                frames += 1;
            }
            drop(unread);
            sleep(2 * SHORT).await;
            frames += 1000;
        };
        StallDetector::new(SHORT, CancellationToken::new()).run(task).await;

        assert!(frames > 1000, "{frames}");
    }

    #[tokio::test]
    async fn a_client_is_cut_also_if_it_has_read_earlier_frames_and_paused() {
        let detector = StallDetector::new(SHORT, CancellationToken::new());

        let task = async {
            drop(frame());
            sleep(3 * SHORT).await;
            let _unread = frame();
            pending::<()>().await;
        };

        assert!(tokio::time::timeout(LONG, detector.run(task)).await.is_ok());
    }

    #[tokio::test]
    async fn a_stop_leaves_a_client_less_time() {
        let soft = CancellationToken::new();
        let detector = StallDetector::new(LONG, soft.clone());

        let task = async {
            let _unread = frame();
            soft.cancel();
            pending::<()>().await;
        };

        assert!(tokio::time::timeout(10 * STOP_READ_TIMEOUT, detector.run(task)).await.is_ok());
    }
}
