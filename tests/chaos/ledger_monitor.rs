//! Reads ledger and balance continuously during the load, from any running process.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::evidence::{Reader, micros};

/// Interval of the readings; each takes three requests or more.
const PACE: Duration = Duration::from_millis(100);

/// A balance, with the number of ledger entries just before and just after it was read.
#[derive(Clone, Copy, Debug)]
pub struct BalanceReading {
    pub before: usize,
    /// In millionths of a dollar.
    pub balance: i64,
    pub after: usize,
}

/// All readings.
#[derive(Clone, Debug, Default)]
pub struct ObservedLedger {
    pub entries: Vec<Value>,
    pub readings: Vec<BalanceReading>,
    /// Entries that differed when they were read again.
    pub rewritten: Vec<Value>,
}

pub struct LedgerMonitor {
    stop: CancellationToken,
    task: JoinHandle<ObservedLedger>,
}

impl LedgerMonitor {
    pub fn start(cluster: &Arc<Cluster>) -> Self {
        let stop = CancellationToken::new();
        let mut reader = LedgerReader {
            reader: Reader::new(cluster),
            page: String::new(),
            known: ObservedLedger::default(),
        };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                // Fails if the process dies meanwhile; the next reading uses another.
                let _ = reader.read().await;
                tokio::time::sleep(PACE).await;
            }
            reader.known
        });
        Self { stop, task }
    }

    pub async fn stop(self) -> ObservedLedger {
        self.stop.cancel();
        self.task.await.expect("the reader ends")
    }
}

struct LedgerReader {
    reader: Reader,
    /// Query parameter with the cursor of the last page.
    page: String,
    known: ObservedLedger,
}

impl LedgerReader {
    async fn read(&mut self) -> Option<()> {
        self.read_ledger().await?;
        let before = self.known.entries.len();
        let balance = micros(&self.reader.try_get("/v1/balance").await?["balance"]);
        self.read_ledger().await?;
        self.known.readings.push(BalanceReading { before, balance, after: self.known.entries.len() });
        Some(())
    }

    async fn read_ledger(&mut self) -> Option<()> {
        loop {
            let page = self.reader.try_get(&format!("/v1/ledger?limit=200{}", self.page)).await?;
            for entry in page["items"].as_array()? {
                let nth = usize::try_from(entry["number"].as_u64()?).ok()?.checked_sub(1)?;
                match self.known.entries.get(nth) {
                    Some(known) if known == entry => {}
                    // The checker reports gaps.
                    None => self.known.entries.push(entry.clone()),
                    Some(_) => self.known.rewritten.push(entry.clone()),
                }
            }
            let Some(next) = page["next_cursor"].as_str() else { return Some(()) };
            self.page = format!("&cursor={next}");
        }
    }
}
