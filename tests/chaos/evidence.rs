//! All that the API says once everything has ended, beside what the clients and the fakes know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use crate::client::Done;
use crate::cluster::Cluster;
use crate::ledger_monitor::Watched;
use crate::outages::Loss;
use crate::support::calls::Call;
use crate::support::fake_model::ModelRequest;
use crate::support::fake_tool::ToolRequest;
use crate::support::http::client;
use crate::support::wait::{wait_at_most, wait_for};

/// Within which every turn has ended, from the last kill on.
const UNTIL_ENDED: Duration = Duration::from_mins(1);

/// An amount in millionths of a dollar.
pub fn micros(amount: &Value) -> i64 {
    let text = amount.as_str().expect("an amount is a text");
    let (whole, part) = text.trim_start_matches('-').split_once('.').expect("an amount has a point");
    let digits: i64 = format!("{whole}{part:0<6}").parse().expect("an amount");
    if text.starts_with('-') { -digits } else { digits }
}

#[derive(Clone)]
pub struct Evidence {
    pub done: Vec<Done>,
    /// By `con_` id, oldest first.
    pub messages: BTreeMap<String, Vec<Value>>,
    pub conversations: BTreeMap<String, Value>,
    /// By `trn_` id.
    pub turns: BTreeMap<String, Value>,
    pub ledger: Vec<Value>,
    /// In millionths of a dollar.
    pub balance: i64,
    pub events: Vec<Value>,
    pub model_calls: Vec<Call<ModelRequest>>,
    pub tool_calls: Vec<Call<ToolRequest>>,
    pub losses: Vec<Loss>,
    /// What was read of the money while all this went on.
    pub watched: Watched,
    /// How long the servers have been up.
    pub took: Duration,
    /// From the last answer to the end of the last turn.
    pub until_ended: Duration,
}

/// Reads the platform door.
#[derive(Clone)]
pub struct Reader {
    http: reqwest::Client,
    cluster: Arc<Cluster>,
    /// Of any process that runs, where none is named.
    node: Option<usize>,
}

impl Reader {
    pub fn new(cluster: &Arc<Cluster>) -> Self {
        Self { http: client(), cluster: Arc::clone(cluster), node: None }
    }

    /// Of this process alone.
    pub fn at(cluster: &Arc<Cluster>, node: usize) -> Self {
        Self { node: Some(node), ..Self::new(cluster) }
    }

    async fn get(&self, path: &str) -> Value {
        wait_for(path, async || self.try_get(path).await).await
    }

    /// None for anything but a 200, no answer included.
    pub async fn try_get(&self, path: &str) -> Option<Value> {
        let address = match self.node {
            Some(node) => self.cluster.address(node)?,
            None => self.cluster.some_address(0).await,
        };
        let request = self.http.get(format!("{address}{path}")).bearer_auth(&self.cluster.key);
        let answer = request.send().await.ok().filter(|answer| answer.status() == 200)?;
        let answer: Value = answer.json().await.ok()?;
        Some(answer["data"].clone())
    }

    /// All items of a list.
    pub async fn list(&self, path: &str, cursor: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut place = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=200{place}")).await;
            let found = page["items"].as_array().expect("a list");
            items.extend(found.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) if !found.is_empty() => place = format!("&{cursor}={next}"),
                _ => return items,
            }
        }
    }

    /// In millionths of a dollar.
    pub async fn balance(&self) -> i64 {
        micros(&self.get("/v1/balance").await["balance"])
    }

    /// Of the turns that were charged for, or that a client was told of.
    async fn turn_ids(&self, done: &[Done]) -> BTreeSet<String> {
        let ledger = self.list("/v1/ledger", "cursor").await;
        let charged = ledger.iter().filter_map(|entry| entry["turn_id"].as_str());
        let told = done.iter().filter_map(|done| done.outcome.told()?.turn.as_deref());
        charged.chain(told).map(str::to_owned).collect()
    }

    /// Reads those that are open, or all that are new where none is. None unless there was nothing left to read.
    async fn ended(&self, done: &[Done], known: &Mutex<Turns>) -> Option<()> {
        let mut unread = std::mem::take(&mut known.lock().unwrap().open);
        if unread.is_empty() {
            unread = self.turn_ids(done).await;
            unread.retain(|id| !known.lock().unwrap().ended.contains_key(id));
        }
        let is_done = unread.is_empty();
        let read = unread.into_iter().map(async |id| {
            let turn = self.get(&format!("/v1/turns/{id}")).await;
            (id, turn)
        });
        let read: Vec<(String, Value)> = stream::iter(read).buffer_unordered(8).collect().await;
        let mut known = known.lock().unwrap();
        for (id, turn) in read {
            if turn.get("ended_at").is_some() {
                known.ended.insert(id, turn);
            } else {
                known.open.insert(id);
            }
        }
        is_done.then_some(())
    }
}

/// What is known of the turns.
#[derive(Default)]
struct Turns {
    ended: BTreeMap<String, Value>,
    open: BTreeSet<String>,
}

/// Waits until no turn is open, and reads all there is.
pub async fn gather(cluster: &Arc<Cluster>, done: Vec<Done>, watched: Watched) -> Evidence {
    let reader = Reader::new(cluster);
    let begun = Instant::now();
    let turns = Mutex::<Turns>::default();
    wait_at_most(UNTIL_ENDED, "the end of all turns", async || reader.ended(&done, &turns).await).await;
    let until_ended = begun.elapsed();
    let mut conversations = BTreeMap::new();
    let mut messages = BTreeMap::new();
    for conversation in reader.list("/v1/conversations", "cursor").await {
        let id = conversation["id"].as_str().expect("an id").to_owned();
        messages.insert(id.clone(), reader.list(&format!("/v1/conversations/{id}/messages"), "cursor").await);
        conversations.insert(id, conversation);
    }
    Evidence {
        done,
        messages,
        conversations,
        turns: turns.into_inner().unwrap().ended,
        ledger: reader.list("/v1/ledger", "cursor").await,
        balance: reader.balance().await,
        events: reader.list("/v1/events", "after").await,
        model_calls: cluster.fakes.model.calls().all(),
        tool_calls: cluster.fakes.tool.calls().all(),
        losses: cluster.losses.all(),
        watched,
        took: cluster.began.elapsed(),
        until_ended,
    }
}
