//! The state that the API reports once all turns have ended, with the records of the clients and the fakes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use crate::client::CompletedOperation;
use crate::cluster::Cluster;
use crate::ledger_monitor::ObservedLedger;
use crate::outages::Outage;
use crate::support::calls::Call;
use crate::support::fake_model::ModelRequest;
use crate::support::fake_tool::ToolRequest;
use crate::support::http::client;
use crate::support::wait::{wait_at_most, wait_for};

/// Upper bound from the last kill to the end of every turn.
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
    pub done: Vec<CompletedOperation>,
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
    pub outages: Vec<Outage>,
    /// The readings of the ledger monitor.
    pub observed_ledger: ObservedLedger,
    /// Time since the cluster started.
    pub took: Duration,
    /// From the last answer to the end of the last turn.
    pub until_ended: Duration,
}

/// Reads from the platform API.
#[derive(Clone)]
pub struct Reader {
    http: reqwest::Client,
    cluster: Arc<Cluster>,
    /// `None` reads from any running process.
    node: Option<usize>,
}

impl Reader {
    pub fn new(cluster: &Arc<Cluster>) -> Self {
        Self { http: client(), cluster: Arc::clone(cluster), node: None }
    }

    /// Reads from this process only.
    pub fn at(cluster: &Arc<Cluster>, node: usize) -> Self {
        Self { node: Some(node), ..Self::new(cluster) }
    }

    async fn get(&self, path: &str) -> Value {
        wait_for(path, async || self.try_get(path).await).await
    }

    /// `None` for anything but a 200 response.
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
        let mut position = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=200{position}")).await;
            let found = page["items"].as_array().expect("a list");
            items.extend(found.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) if !found.is_empty() => position = format!("&{cursor}={next}"),
                _ => return items,
            }
        }
    }

    /// In millionths of a dollar.
    pub async fn balance(&self) -> i64 {
        micros(&self.get("/v1/balance").await["balance"])
    }

    /// The ids of all turns that were charged or reported to a client.
    async fn turn_ids(&self, done: &[CompletedOperation]) -> BTreeSet<String> {
        let ledger = self.list("/v1/ledger", "cursor").await;
        let charged = ledger.iter().filter_map(|entry| entry["turn_id"].as_str());
        let response = done.iter().filter_map(|done| done.outcome.response()?.turn.as_deref());
        charged.chain(response).map(str::to_owned).collect()
    }

    /// Reads the open turns, or all new ones if none is open. `None` until there is nothing left to read.
    async fn ended(&self, done: &[CompletedOperation], known: &Mutex<Turns>) -> Option<()> {
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

/// The turns read so far.
#[derive(Default)]
struct Turns {
    ended: BTreeMap<String, Value>,
    open: BTreeSet<String>,
}

/// Waits until no turn is open, and reads everything.
pub async fn gather(
    cluster: &Arc<Cluster>,
    done: Vec<CompletedOperation>,
    observed_ledger: ObservedLedger,
) -> Evidence {
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
        outages: cluster.outages.all(),
        observed_ledger,
        took: cluster.began.elapsed(),
        until_ended,
    }
}
