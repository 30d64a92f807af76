//! Detects clients that stop reading an event stream. The socket does not show it: over HTTP/2 it stays active while the window
//! of one stream is closed.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

tokio::task_local! {
    /// The detector of the task that writes the response: the stream's task over HTTP/2, the connection's over HTTP/1.
    static STALL_DETECTOR: StallDetector;
}

/// Watches how a client reads the response that a task writes.
#[derive(Clone, Debug)]
pub(super) struct StallDetector {
    /// The time by which the client must have read the last part; none if it has read everything.
    deadline: Arc<watch::Sender<Option<Instant>>>,
    timeout: Duration,
}

impl StallDetector {
    /// `timeout` is the time to read one event of a stream.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { deadline: Arc::new(watch::Sender::new(None)), timeout }
    }

    /// Runs a task that writes a response, and drops it if the client stalls: over HTTP/2 that resets only the stream, over
    /// HTTP/1 it closes the connection.
    pub(super) async fn run(self, task: impl Future<Output = ()>) {
        let deadline = self.deadline.subscribe();
        tokio::select! {
            () = STALL_DETECTOR.scope(self, task) => {}
            () = until_stalled(deadline) => {}
        }
    }

    fn arm(&self) {
        self.deadline.send_replace(Some(Instant::now() + self.timeout));
    }

    fn disarm(&self) {
        // An unnecessary wake-up would poll the stream again, and wake this task for ever.
        self.deadline.send_if_modified(|deadline| deadline.take().is_some());
    }
}

/// Watches the client of an endless response: it must read each part before the next one is polled.
pub(super) fn detect_stalls(response: Response) -> Response {
    let Ok(detector) = STALL_DETECTOR.try_with(StallDetector::clone) else { return response };
    response.map(|body| {
        let mut parts = body.into_data_stream();
        // If the window is closed from the start, the first part is never polled.
        detector.arm();
        Body::from_stream(futures::stream::poll_fn(move |context| {
            detector.disarm();
            let part = parts.poll_next_unpin(context);
            if matches!(part, Poll::Ready(Some(_))) {
                detector.arm();
            }
            part
        }))
    })
}

/// Waits until a deadline passes.
async fn until_stalled(mut deadline: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *deadline.borrow_and_update();
        let changed = deadline.changed();
        let is_finished = match until {
            Some(until) => match tokio::time::timeout_at(until, changed).await {
                Ok(changed) => changed.is_err(),
                Err(_) => return,
            },
            None => changed.await.is_err(),
        };
        if is_finished {
            // The response is complete, and its task ends.
            return std::future::pending().await;
        }
    }
}
