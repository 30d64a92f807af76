//! Many open event streams: the memory that they use in the server, and the time until one event reaches all of them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The time for the server's memory to settle once all streams are open.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct Streams {
    /// The server's address: `http://127.0.0.1:8080`.
    #[arg(long)]
    server: String,
    /// The id of its process, on this machine.
    #[arg(long)]
    pid: u32,
    /// A key of the workspace whose events are followed.
    #[arg(long)]
    key: String,
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Events that are sent once all streams are open.
    #[arg(long, default_value_t = 5)]
    events: usize,
}

impl Streams {
    pub(crate) async fn measure(self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        // The first request opens database connections and prepares statements, which must not count.
        self.send(&http).await?;
        let before = resident(self.pid)?;
        let (sender, mut received) = mpsc::unbounded_channel();
        let mut streams = JoinSet::new();
        for _ in 0..self.count {
            let response = self.open(&http).await?;
            streams.spawn(follow(response, sender.clone()));
        }
        tokio::time::sleep(SETTLE).await;
        let open = resident(self.pid)?;
        println!("resident before: {before} KiB; with {} streams: {open} KiB", self.count);
        println!("a stream: {} KiB", open.saturating_sub(before) / u64::try_from(self.count)?);
        for _ in 0..self.events {
            let sent = Instant::now();
            self.send(&http).await?;
            for _ in 0..self.count {
                received.recv().await.context("a stream has ended")?;
            }
            println!("one event at all of them: {:?} after it was sent", sent.elapsed());
        }
        println!("resident after: {} KiB", resident(self.pid)?);
        Ok(())
    }

    async fn open(&self, http: &reqwest::Client) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/v1/events/stream?after=latest&types=message.created", self.server);
        let response = http.get(&url).bearer_auth(&self.key).send().await?;
        let status = response.status();
        ensure!(status.is_success(), "{url}: {status}: {}", response.text().await?);
        Ok(response)
    }

    async fn send(&self, http: &reqwest::Client) -> anyhow::Result<()> {
        let body =
            json!({ "sender_id": "usr_load", "sender_type": "user", "text": "Hello", "auto_reply": false });
        let request = http.post(format!("{}/v1/messages", self.server)).bearer_auth(&self.key);
        request.json(&body).send().await?.error_for_status()?;
        Ok(())
    }
}

/// Reports each event; nothing else in the streams has data.
async fn follow(mut response: reqwest::Response, sender: mpsc::UnboundedSender<()>) -> anyhow::Result<()> {
    while let Some(chunk) = response.chunk().await? {
        for _ in chunk.windows(6).filter(|bytes| bytes == b"\ndata:") {
            sender.send(())?;
        }
    }
    Ok(())
}

/// A process's resident memory, in KiB.
fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
