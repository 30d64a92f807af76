//! Clients in a closed loop: each sends its next message when it has received the response to the previous one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::report::{Figures, print_head, print_line};

/// The number of conversations in one measurement. With few messages in each, the model gets a short history, as from the
/// pass-through.
const CONVERSATIONS: usize = 2048;

/// The parameters of the measurement.
#[derive(Args)]
pub(crate) struct Run {
    /// The server's address: `http://127.0.0.1:8080`.
    #[arg(long)]
    server: String,
    /// The pass-through's address.
    #[arg(long)]
    pass_through: String,
    /// A key of the workspace that the messages are sent to.
    #[arg(long)]
    key: String,
    /// The UUID of the assistant in the widget API.
    #[arg(long)]
    assistant: String,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The numbers of concurrent clients to measure with.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    clients: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Workload {
    PassThrough,
    Widget,
    Platform,
}

/// The destination and content of a client's messages.
#[derive(Clone)]
struct Target {
    url: String,
    key: Option<String>,
    body: String,
}

impl Run {
    /// Measures the pass-through, the widget API and the platform API, for each number of clients.
    pub(crate) async fn measure(self) -> anyhow::Result<()> {
        let http = crate::http_client()?;
        print_head();
        for clients in &self.clients {
            let mut bare = None;
            for (name, workload) in [
                ("pass-through", Workload::PassThrough),
                ("widget turn", Workload::Widget),
                ("platform enqueue", Workload::Platform),
            ] {
                let targets = self.targets(&http, workload, *clients).await?;
                // Warms up connections, prepared statements and caches.
                closed_loop(&http, &targets, Duration::from_secs(1)).await?;
                let figures = closed_loop(&http, &targets, Duration::from_secs(self.seconds)).await?;
                print_line(name, *clients, &figures, bare.as_ref());
                if matches!(workload, Workload::PassThrough) {
                    bare = Some(figures);
                }
            }
        }
        Ok(())
    }

    /// Separate conversations for each client, so that no client waits for the turn of another.
    async fn targets(
        &self,
        http: &reqwest::Client,
        workload: Workload,
        clients: usize,
    ) -> anyhow::Result<Vec<Vec<Target>>> {
        let mut targets = vec![Vec::new(); clients];
        for client in (0..clients).cycle().take(CONVERSATIONS) {
            targets[client].push(match workload {
                Workload::PassThrough => widget_target(&self.pass_through, "none"),
                Workload::Widget => {
                    let body = json!({ "assistant_id": self.assistant, "type": "widget" });
                    let made = post(http, &format!("{}/api/conversations", self.server), None, &body).await?;
                    let id = made["conversation_id"].as_str().context("a conversation has an id")?;
                    widget_target(&self.server, id)
                }
                Workload::Platform => self.platform_target(http).await?,
            });
        }
        Ok(targets)
    }

    async fn platform_target(&self, http: &reqwest::Client) -> anyhow::Result<Target> {
        let url = format!("{}/v1/messages", self.server);
        let key = Some(self.key.clone());
        let mut body = json!({ "sender_id": "usr_load", "sender_type": "user", "text": "When are you open?", "auto_reply": false });
        let sent = post(http, &url, key.as_deref(), &body).await?;
        body["conversation_id"] = sent["data"]["conversation_id"].clone();
        Ok(Target { url, key, body: body.to_string() })
    }
}

fn widget_target(server: &str, conversation: &str) -> Target {
    let url = format!("{server}/api/conversations/{conversation}/messages");
    Target { url, key: None, body: json!({ "message": "When are you open?" }).to_string() }
}

async fn post(http: &reqwest::Client, url: &str, key: Option<&str>, body: &Value) -> anyhow::Result<Value> {
    let target = Target { url: url.to_owned(), key: key.map(str::to_owned), body: body.to_string() };
    let answer = request(http, &target).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url}: {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

fn request(http: &reqwest::Client, target: &Target) -> reqwest::RequestBuilder {
    let request = http.post(&target.url).header("content-type", "application/json").body(target.body.clone());
    match &target.key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

async fn closed_loop(
    http: &reqwest::Client,
    targets: &[Vec<Target>],
    length: Duration,
) -> anyhow::Result<Figures> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for target in targets {
        clients.spawn(one_client(http.clone(), target.clone(), begun + length));
    }
    let (mut times, mut failed) = (Vec::new(), 0);
    while let Some(client) = clients.join_next().await {
        let (answered, refused) = client?;
        times.extend(answered);
        failed += refused;
    }
    Ok(Figures::new(times, failed, begun.elapsed()))
}

/// The time of each successful message, and the number of failed ones.
async fn one_client(http: reqwest::Client, targets: Vec<Target>, end: Instant) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    for target in targets.iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        let sent = Instant::now();
        let answered = async { request(&http, target).send().await?.error_for_status()?.bytes().await };
        match answered.await {
            Ok(_) => times.push(sent.elapsed()),
            Err(_) => failed += 1,
        }
    }
    (times, failed)
}
