//! Clients in a closed loop: each sends its next message when it has received the response to the previous one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::report::{Figures, Results};

/// The number of conversations in one measurement. With few messages in each, the model gets a short history, as from the
/// pass-through.
const CONVERSATIONS: usize = 1024;

/// The parameters of the measurement.
#[derive(Args)]
pub(crate) struct Run {
    /// What the clients do.
    #[arg(long, value_enum)]
    workload: Workload,
    /// The addresses of the servers, which the clients share evenly, or of the pass-through.
    #[arg(long, value_delimiter = ',')]
    server: Vec<String>,
    /// The id of its process, whose CPU time is measured.
    #[arg(long)]
    pid: Option<u32>,
    /// A key of each workspace, which the clients share evenly.
    #[arg(long, value_delimiter = ',', default_value = "")]
    key: Vec<String>,
    /// The UUID of the assistant of each workspace in the widget API.
    #[arg(long, value_delimiter = ',', default_value = "")]
    assistant: Vec<String>,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The number of concurrent clients.
    #[arg(long)]
    clients: usize,
    /// The time over which the clients begin, so that they do not send in waves: the model's delay.
    #[arg(long, default_value_t = 0)]
    spread_ms: u32,
    /// The messages that the conversation of the widget has before; there is only one conversation then.
    #[arg(long, default_value_t = 0)]
    history: usize,
    /// The end of the measure's name.
    #[arg(long, default_value = "")]
    suffix: String,
    #[command(flatten)]
    results: Results,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    PassThrough,
    /// Widget turns.
    Widget,
    /// The same, with the reply as a stream. The time is that from the model's first token to the client's; it needs a model that
    /// sends tokens.
    Stream,
    /// Platform messages without a reply.
    Enqueue,
    /// Platform messages whose replies are made meanwhile.
    Reply,
}

/// The destination and content of a client's messages.
#[derive(Clone)]
struct Target {
    url: String,
    key: Option<String>,
    body: String,
    is_streamed: bool,
}

impl Run {
    pub(crate) async fn measure(self) -> anyhow::Result<()> {
        let http = crate::http_client()?;
        let targets = self.targets(&http).await?;
        // Warms up connections, prepared statements and caches.
        let spread = Duration::from_millis(self.spread_ms.into());
        closed_loop(&http, &targets, Duration::from_secs(1), Duration::ZERO, None).await?;
        let length = spread + Duration::from_secs(self.seconds);
        let figures = closed_loop(&http, &targets, length, spread, self.pid).await?;
        let workload = self.workload.to_possible_value().context("a workload has a name")?;
        let measure = format!("{}-{}{}", workload.get_name(), self.clients, self.suffix);
        self.results.add_figures(&measure, &figures)
    }

    /// Separate conversations for each client, so that no client waits for the turn of another.
    async fn targets(&self, http: &reqwest::Client) -> anyhow::Result<Vec<Vec<Target>>> {
        if self.history > 0 {
            return Ok(vec![vec![self.long_conversation(http).await?]]);
        }
        let mut targets = vec![Vec::new(); self.clients];
        for client in (0..self.clients).cycle().take(CONVERSATIONS.max(self.clients)) {
            let tenant = self.tenant(client);
            targets[client].push(match self.workload {
                Workload::PassThrough => widget_target(tenant.server, "none"),
                Workload::Widget => tenant.widget_conversation(http).await?.0,
                Workload::Stream => Target { is_streamed: true, ..tenant.widget_conversation(http).await?.0 },
                Workload::Enqueue => tenant.platform_target(http, false).await?,
                Workload::Reply => tenant.platform_target(http, true).await?,
            });
        }
        Ok(targets)
    }

    fn tenant(&self, client: usize) -> Tenant<'_> {
        let pick = |values: &'_ [String]| -> usize { client % values.len().max(1) };
        Tenant {
            server: &self.server[pick(&self.server)],
            key: &self.key[pick(&self.key)],
            assistant: &self.assistant[pick(&self.assistant)],
        }
    }

    async fn long_conversation(&self, http: &reqwest::Client) -> anyhow::Result<Target> {
        let tenant = self.tenant(0);
        let (target, id) = tenant.widget_conversation(http).await?;
        let url = format!("{}/v1/messages", tenant.server);
        let body = json!({ "conversation_id": id, "sender_id": "usr_load", "sender_type": "user", "text": "When are you open?", "auto_reply": false });
        let mut writers = JoinSet::new();
        for _ in 0..64 {
            let (http, url, key, body) = (http.clone(), url.clone(), tenant.key.to_owned(), body.clone());
            let share = self.history / 64;
            writers.spawn(async move {
                for _ in 0..share {
                    post(&http, &url, Some(&key), &body).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
        Ok(target)
    }
}

/// The workspace of a client, and the server that the client uses.
#[derive(Clone, Copy)]
struct Tenant<'r> {
    server: &'r str,
    key: &'r str,
    assistant: &'r str,
}

impl Tenant<'_> {
    /// A new conversation of the widget API, with its id in the platform API.
    async fn widget_conversation(&self, http: &reqwest::Client) -> anyhow::Result<(Target, String)> {
        let body = json!({ "assistant_id": self.assistant, "type": "widget" });
        let url = format!("{}/v1/conversations", self.server);
        let made = post(http, &url, Some(self.key), &body).await?;
        let text = |name: &str| made["data"][name].as_str().map(str::to_owned).context("a conversation");
        Ok((widget_target(self.server, &text("widget_uuid")?), text("id")?))
    }

    async fn platform_target(&self, http: &reqwest::Client, auto_reply: bool) -> anyhow::Result<Target> {
        let url = format!("{}/v1/messages", self.server);
        let key = Some(self.key.to_owned());
        let mut body = json!({ "sender_id": "usr_load", "sender_type": "user", "text": "When are you open?", "auto_reply": false });
        let sent = post(http, &url, key.as_deref(), &body).await?;
        body["conversation_id"] = sent["data"]["conversation_id"].clone();
        body["auto_reply"] = auto_reply.into();
        Ok(Target { url, key, body: body.to_string(), is_streamed: false })
    }
}

fn widget_target(server: &str, conversation: &str) -> Target {
    let url = format!("{server}/api/conversations/{conversation}/messages");
    let body = json!({ "message": "When are you open?" }).to_string();
    Target { url, key: None, body, is_streamed: false }
}

async fn post(http: &reqwest::Client, url: &str, key: Option<&str>, body: &Value) -> anyhow::Result<Value> {
    let (url, key) = (url.to_owned(), key.map(str::to_owned));
    let target = Target { url, key, body: body.to_string(), is_streamed: false };
    let answer = request(http, &target).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{}: {status}: {text}", target.url);
    Ok(serde_json::from_str(&text)?)
}

fn request(http: &reqwest::Client, target: &Target) -> reqwest::RequestBuilder {
    let mut request =
        http.post(&target.url).header("content-type", "application/json").body(target.body.clone());
    if target.is_streamed {
        request = request.header("accept", "text/event-stream");
    }
    match &target.key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

async fn closed_loop(
    http: &reqwest::Client,
    targets: &[Vec<Target>],
    length: Duration,
    spread: Duration,
    pid: Option<u32>,
) -> anyhow::Result<Figures> {
    let cpu_before = pid.map(cpu_time).transpose()?;
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    let step = spread / u32::try_from(targets.len())?;
    for (number, target) in (0..).zip(targets) {
        let (http, target) = (http.clone(), target.clone());
        clients.spawn(async move {
            tokio::time::sleep(step * number).await;
            one_client(http, target, begun + length).await
        });
    }
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client??);
    }
    let length = begun.elapsed();
    let cpu =
        pid.map(cpu_time).transpose()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Figures::new(times, length, cpu))
}

/// The CPU time that a process has used.
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("a stat line")?.1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|field| field.parse().unwrap_or(0_u64)).sum();
    // A tick is 10 ms on Linux.
    Ok(Duration::from_millis(ticks * 10))
}

/// The time of each message. A failed message is an error.
async fn one_client(
    http: reqwest::Client,
    targets: Vec<Target>,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for target in targets.iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        let sent = Instant::now();
        let answer = request(&http, target).send().await?;
        if target.is_streamed {
            times.push(first_token(answer).await?);
            continue;
        }
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success() && text.contains("\"status\":"), "{}: {status}: {text}", target.url);
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// Reads a streamed reply to its end. Returns the time from the model's first token, which is the time at which it was sent.
async fn first_token(mut answer: reqwest::Response) -> anyhow::Result<Duration> {
    let (mut received, mut time) = (Vec::new(), None);
    while let Some(chunk) = answer.chunk().await? {
        received.extend_from_slice(&chunk);
        if time.is_none() {
            let now = crate::time()?;
            time = sent_at(&received).map(|sent| now.saturating_sub(sent));
        }
    }
    let text = String::from_utf8_lossy(&received);
    ensure!(text.ends_with("data: [DONE]\n\n") && text.contains(r#""type":"finish""#), "no reply: {text}");
    time.context("the model sends no tokens")
}

/// The text of the first delta, if it is complete.
fn sent_at(received: &[u8]) -> Option<Duration> {
    let (_, delta) = std::str::from_utf8(received).ok()?.split_once(r#""delta":""#)?;
    let (text, _) = delta.split_once('"')?;
    text.trim().parse().ok().map(Duration::from_micros)
}
