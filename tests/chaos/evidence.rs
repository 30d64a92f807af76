//! All that the API says once everything has ended, beside what the clients and the fakes know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use crate::client::Done;
use crate::cluster::Cluster;
use crate::support::calls::Call;
use crate::support::fake_model::ModelRequest;
use crate::support::fake_tool::ToolRequest;
use crate::support::http::Http;

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
}

/// Reads the platform door of any process that runs.
pub struct Reader {
    http: Http,
    key: String,
}

impl Reader {
    pub async fn new(cluster: &Cluster) -> Self {
        Self { http: Http::new(cluster.some_address(0).await), key: cluster.key.clone() }
    }

    /// Of this process alone.
    pub fn at(cluster: &Cluster, node: usize) -> Self {
        let address = cluster.address(node).expect("the process runs");
        Self { http: Http::new(address), key: cluster.key.clone() }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(path).bearer(&self.key).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["data"].clone()
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

    async fn turn(&self, id: &str) -> Value {
        self.get(&format!("/v1/turns/{id}")).await
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
}

/// Waits until no turn is open, and reads all there is. Gives how long that took.
pub async fn gather(cluster: &Arc<Cluster>, done: Vec<Done>) -> (Evidence, Duration) {
    let reader = Reader::new(cluster).await;
    let begun = std::time::Instant::now();
    let mut turns = BTreeMap::new();
    loop {
        let ids = reader.turn_ids(&done).await;
        let unread = ids.into_iter().filter(|id| !turns.contains_key(id)).map(async |id| {
            let turn = reader.turn(&id).await;
            (id, turn)
        });
        let read: Vec<(String, Value)> = stream::iter(unread).buffer_unordered(8).collect().await;
        let (open, ended): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|(_, turn)| turn.get("ended_at").is_none());
        turns.extend(ended);
        if open.is_empty() {
            break;
        }
        assert!(begun.elapsed() < UNTIL_ENDED, "turns are open: {open:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let until_ended = begun.elapsed();
    let mut conversations = BTreeMap::new();
    let mut messages = BTreeMap::new();
    for conversation in reader.list("/v1/conversations", "cursor").await {
        let id = conversation["id"].as_str().expect("an id").to_owned();
        messages.insert(id.clone(), reader.list(&format!("/v1/conversations/{id}/messages"), "cursor").await);
        conversations.insert(id, conversation);
    }
    let evidence = Evidence {
        done,
        messages,
        conversations,
        turns,
        ledger: reader.list("/v1/ledger", "cursor").await,
        balance: reader.balance().await,
        events: reader.list("/v1/events", "after").await,
        model_calls: cluster.fakes.model.calls().all(),
        tool_calls: cluster.fakes.tool.calls().all(),
    };
    (evidence, until_ended)
}
