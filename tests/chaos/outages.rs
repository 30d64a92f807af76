//! Which processes were lost, and when: a call of one that is dead or frozen is nobody's any more.

use std::sync::Mutex;
use std::time::Instant;

/// A process that was killed, or frozen for a while.
#[derive(Clone, Debug)]
pub struct Loss {
    /// As the fake model knows it.
    pub process: String,
    pub at: Instant,
    /// When it was woken; none for a dead one.
    pub until: Option<Instant>,
}

/// All of a test, in order.
#[derive(Default)]
pub struct Losses(Mutex<Vec<Loss>>);

impl Losses {
    pub fn all(&self) -> Vec<Loss> {
        self.0.lock().unwrap().clone()
    }

    pub fn killed(&self, process: String, at: Instant) {
        self.0.lock().unwrap().push(Loss { process, at, until: None });
    }

    pub fn frozen(&self, process: String, at: Instant) {
        self.killed(process, at);
    }

    pub fn woken(&self, process: &str) {
        let mut losses = self.0.lock().unwrap();
        let frozen = losses.iter_mut().rev().find(|loss| loss.process == process);
        frozen.expect("it was frozen").until = Some(Instant::now());
    }
}
