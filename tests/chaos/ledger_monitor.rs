//! Reads ledger and balance again and again while the load goes on, from whichever process runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::evidence::{Reader, micros};

/// The pace of the readings; each is three requests or more.
const PACE: Duration = Duration::from_millis(100);

/// A balance, and how many entries the ledger had just before and just after it was read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub before: usize,
    /// In millionths of a dollar.
    pub balance: i64,
    pub after: usize,
}

/// All that was read.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    pub entries: Vec<Value>,
    pub readings: Vec<Reading>,
    /// Entries that were another when they were read again.
    pub rewritten: Vec<Value>,
}

pub struct Watch {
    stop: CancellationToken,
    task: JoinHandle<Watched>,
}

impl Watch {
    pub fn start(cluster: &Arc<Cluster>) -> Self {
        let stop = CancellationToken::new();
        let mut watcher =
            Watcher { reader: Reader::new(cluster), page: String::new(), known: Watched::default() };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                // None where a process died over it; the next reading is at another.
                let _ = watcher.read().await;
                tokio::time::sleep(PACE).await;
            }
            watcher.known
        });
        Self { stop, task }
    }

    pub async fn end(self) -> Watched {
        self.stop.cancel();
        self.task.await.expect("the watcher ends")
    }
}

struct Watcher {
    reader: Reader,
    /// The cursor of the last page that was begun.
    page: String,
    known: Watched,
}

impl Watcher {
    async fn read(&mut self) -> Option<()> {
        self.read_ledger().await?;
        let before = self.known.entries.len();
        let balance = micros(&self.reader.try_get("/v1/balance").await?["balance"]);
        self.read_ledger().await?;
        self.known.readings.push(Reading { before, balance, after: self.known.entries.len() });
        Some(())
    }

    async fn read_ledger(&mut self) -> Option<()> {
        loop {
            let page = self.reader.try_get(&format!("/v1/ledger?limit=200{}", self.page)).await?;
            for entry in page["items"].as_array()? {
                let nth = usize::try_from(entry["number"].as_u64()?).ok()?.checked_sub(1)?;
                match self.known.entries.get(nth) {
                    Some(known) if known == entry => {}
                    // One that leaves a gap is left for the checker to find.
                    None => self.known.entries.push(entry.clone()),
                    Some(_) => self.known.rewritten.push(entry.clone()),
                }
            }
            let Some(next) = page["next_cursor"].as_str() else { return Some(()) };
            self.page = format!("&cursor={next}");
        }
    }
}
