//! Whether a client takes the stream of events that it asked for. A socket does not tell: over HTTP/2 it goes on,
//! with answers to pings, while the window of one stream stays shut.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

tokio::task_local! {
    /// Of the task that writes the answer: its stream's over HTTP/2, its connection's over HTTP/1.
    static STALL_DETECTOR: StallDetector;
}

/// The client's side of the answer that a task writes.
#[derive(Clone, Debug)]
pub(super) struct StallDetector {
    /// When the client must have taken what it was given last; none where all is taken.
    deadline: Arc<watch::Sender<Option<Instant>>>,
    timeout: Duration,
}

impl StallDetector {
    /// Nothing is to be taken yet. `timeout` is for each event of a stream.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { deadline: Arc::new(watch::Sender::new(None)), timeout }
    }

    /// Runs what writes an answer, and drops it where the client does not take a stream in time:
    /// over HTTP/2 that resets the stream alone, over HTTP/1 it closes the connection.
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
        // A task that is woken for nothing would ask again, and be woken without end.
        self.deadline.send_if_modified(|deadline| deadline.take().is_some());
    }
}

/// An answer without end whose client is watched: each part must be taken before the next is asked for.
pub(super) fn detect_stalls(response: Response) -> Response {
    let Ok(detector) = STALL_DETECTOR.try_with(StallDetector::clone) else { return response };
    response.map(|body| {
        let mut parts = body.into_data_stream();
        // Where the window is shut from the beginning, the first part is never asked for.
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

/// Waits until something should have been taken and is not.
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
            // The answer is written: its task ends.
            return std::future::pending().await;
        }
    }
}
