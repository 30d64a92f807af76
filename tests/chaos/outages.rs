//! The log of killed and frozen processes. The checker ignores open calls of a process that was down.

use std::sync::Mutex;
use std::time::Instant;

/// A process that was killed, or frozen for a while.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Its name, which the fake model receives as the API key.
    pub process: String,
    pub at: Instant,
    /// When it was woken; `None` for a killed process.
    pub until: Option<Instant>,
}

/// All outages of a test, in order.
#[derive(Default)]
pub struct Outages(Mutex<Vec<Outage>>);

impl Outages {
    pub fn all(&self) -> Vec<Outage> {
        self.0.lock().unwrap().clone()
    }

    pub fn record_kill(&self, process: String, at: Instant) {
        self.0.lock().unwrap().push(Outage { process, at, until: None });
    }

    pub fn record_freeze(&self, process: String, at: Instant) {
        self.record_kill(process, at);
    }

    pub fn record_wake(&self, process: &str) {
        let mut outages = self.0.lock().unwrap();
        let frozen = outages.iter_mut().rev().find(|outage| outage.process == process);
        frozen.expect("it was frozen").until = Some(Instant::now());
    }
}
