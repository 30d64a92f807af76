//! Webhook deliveries to one healthy endpoint: while messages are written, and from a backlog.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::report::Results;

/// The longest wait for the next delivery.
const PATIENCE: Duration = Duration::from_secs(30);

/// The parameters of the measurement.
#[derive(Args)]
pub(crate) struct Deliveries {
    /// The server's address: `http://127.0.0.1:8080`. It must allow webhooks to 127.0.0.1.
    #[arg(long)]
    server: String,
    /// A key of the workspace whose events are sent.
    #[arg(long)]
    key: String,
    /// The address that receives the events.
    #[arg(long)]
    listen: SocketAddr,
    /// For how many seconds messages are written.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// The number of concurrent writers, each with its own conversations.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    #[command(flatten)]
    results: Results,
}

impl Deliveries {
    pub(crate) async fn measure(self) -> anyhow::Result<()> {
        let received = receive(self.listen).await?;
        let http = crate::http_client()?;
        let hook = json!({ "url": format!("http://{}/", self.listen), "types": ["message.created"] });
        let made = self.call(&http, "webhook_endpoints", &hook).await?;
        let endpoint = made["data"]["id"].as_str().context("an endpoint has an id")?.to_owned();

        let written = self.write(&http).await?;
        arrived(&received, written).await?;

        let begun = Instant::now();
        let mut after = json!("0");
        let mut again = 0;
        while !after.is_null() {
            let path = format!("webhook_endpoints/{endpoint}/replay");
            let replayed = self.call(&http, &path, &json!({ "after": after })).await?;
            again += replayed["data"]["deliveries"].as_u64().unwrap_or(0);
            after = replayed["data"]["next_cursor"].clone();
        }
        arrived(&received, written + usize::try_from(again)?).await?;
        self.results.add_rate("webhooks", i64::try_from(again)?, begun.elapsed())?;
        // Later measurements have no endpoint.
        let url = format!("{}/v1/webhook_endpoints/{endpoint}", self.server);
        let deleted = http.delete(&url).bearer_auth(&self.key).send().await?;
        ensure!(deleted.status().is_success(), "{url}: {}", deleted.status());
        Ok(())
    }

    /// Writes messages that request no reply, and returns their number.
    async fn write(&self, http: &reqwest::Client) -> anyhow::Result<usize> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let (http, url, key) = (http.clone(), format!("{}/v1/messages", self.server), self.key.clone());
            clients.spawn(async move {
                let body = json!({ "sender_id": "usr_load", "sender_type": "user", "text": "When are you open?", "auto_reply": false });
                let mut written = 0;
                while Instant::now() < end {
                    send(&http, &url, &key, &body).await?;
                    written += 1;
                }
                anyhow::Ok(written)
            });
        }
        let mut written = 0;
        while let Some(client) = clients.join_next().await {
            written += client??;
        }
        Ok(written)
    }

    async fn call(&self, http: &reqwest::Client, path: &str, body: &Value) -> anyhow::Result<Value> {
        send(http, &format!("{}/v1/{path}", self.server), &self.key, body).await
    }
}

async fn send(http: &reqwest::Client, url: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
    let request = http.post(url).header("content-type", "application/json").bearer_auth(key);
    let answer = request.body(body.to_string()).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url}: {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

/// Receives and counts deliveries.
async fn receive(listen: SocketAddr) -> anyhow::Result<Arc<AtomicUsize>> {
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    let count = async move |_: Bytes| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let serving = axum::serve(listener, Router::new().route("/", post(count)));
    tokio::spawn(async move { serving.await });
    Ok(received)
}

async fn arrived(received: &AtomicUsize, count: usize) -> anyhow::Result<()> {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let now = received.load(Ordering::Relaxed);
        if now >= count {
            return Ok(());
        }
        if now > before {
            (before, since) = (now, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "{now} of {count} events have arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
