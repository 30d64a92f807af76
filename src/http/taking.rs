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
    static TAKING: Taking;
}

/// The client's side of the answer that a task writes.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    /// When the client must have taken what it was given last; none where all is taken.
    due: Arc<watch::Sender<Option<Instant>>>,
    patience: Duration,
}

impl Taking {
    /// Nothing is to be taken yet. `patience` is for each event of a stream.
    pub(super) fn new(patience: Duration) -> Self {
        Self { due: Arc::new(watch::Sender::new(None)), patience }
    }

    /// Runs what writes an answer, and drops it where the client does not take a stream in time:
    /// over HTTP/2 that resets the stream alone, over HTTP/1 it closes the connection.
    pub(super) async fn watch(self, writes: impl Future<Output = ()>) {
        let due = self.due.subscribe();
        tokio::select! {
            () = TAKING.scope(self, writes) => {}
            () = overdue(due) => {}
        }
    }

    fn expect(&self) {
        self.due.send_replace(Some(Instant::now() + self.patience));
    }

    fn taken(&self) {
        // A task that is woken for nothing would ask again, and be woken without end.
        self.due.send_if_modified(|due| due.take().is_some());
    }
}

/// An answer without end whose client is watched: each part must be taken before the next is asked for.
pub(super) fn watched(response: Response) -> Response {
    let Ok(taking) = TAKING.try_with(Taking::clone) else { return response };
    response.map(|body| {
        let mut parts = body.into_data_stream();
        // Where the window is shut from the beginning, the first part is never asked for.
        taking.expect();
        Body::from_stream(futures::stream::poll_fn(move |context| {
            taking.taken();
            let part = parts.poll_next_unpin(context);
            if matches!(part, Poll::Ready(Some(_))) {
                taking.expect();
            }
            part
        }))
    })
}

/// Waits until something should have been taken and is not.
async fn overdue(mut due: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *due.borrow_and_update();
        let changed = due.changed();
        let is_over = match until {
            Some(until) => match tokio::time::timeout_at(until, changed).await {
                Ok(changed) => changed.is_err(),
                Err(_) => return,
            },
            None => changed.await.is_err(),
        };
        if is_over {
            // The answer is written: its task ends.
            return std::future::pending().await;
        }
    }
}
