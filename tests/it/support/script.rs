//! The script of a fake: replies from a queue first, then from a closure.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::watch;

type Fallback<R, A> = Box<dyn FnMut(&R) -> A + Send>;

pub struct Script<R, A> {
    queue: Mutex<VecDeque<A>>,
    fallback: Mutex<Fallback<R, A>>,
}

impl<R, A> Script<R, A> {
    pub fn new(fallback: impl FnMut(&R) -> A + Send + 'static) -> Self {
        Self { queue: Mutex::default(), fallback: Mutex::new(Box::new(fallback)) }
    }

    /// Queues replies for the next calls.
    pub fn queue(&self, replies: impl IntoIterator<Item = A>) {
        self.queue.lock().expect("no thread panicked with the lock").extend(replies);
    }

    /// Sets the closure that replies when the queue is empty.
    pub fn respond_with(&self, make: impl FnMut(&R) -> A + Send + 'static) {
        *self.fallback.lock().expect("no thread panicked with the lock") = Box::new(make);
    }

    pub fn next(&self, request: &R) -> A {
        if let Some(reply) = self.queue.lock().expect("no thread panicked with the lock").pop_front() {
            return reply;
        }
        self.fallback.lock().expect("no thread panicked with the lock")(request)
    }
}

/// Holds replies back until a test opens it. Clones share one gate.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Releases all replies, also later ones.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn wait_until_open(&self) {
        let mut opened = self.0.subscribe();
        opened.wait_for(|opened| *opened).await.expect("the gate exists");
    }
}
