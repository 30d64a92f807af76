//! Two races with kills: many requests compete for the last of a balance, and many requests share one idempotency key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::checker::check;
use crate::client::{Api, Client, CompletedOperation, Conversation, Operation, Outcome, join_operations};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Reader, gather};
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::sizes::{seed, size};
use crate::support::db::Backend;

/// Concurrent posts; the balance covers `PAID` of them.
const POSTS: usize = 64;
const PAID: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_balance_is_spent_once_sqlite() {
    race("race_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_balance_is_spent_once_postgres() {
    race("race_postgres", Backend::Postgres, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_duplicates_run_once_sqlite() {
    duplicates("duplicates_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_duplicates_run_once_postgres() {
    duplicates("duplicates_postgres", Backend::Postgres, 2).await;
}

/// In each round the balance covers some of the posts, and exactly those are answered. Every other round has a kill.
async fn race(test: &str, backend: Backend, processes: usize) {
    let seed = seed(test);
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Cluster::start(Setup::new(backend, processes).balance("0.00")).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, seed)));
    let monitor = LedgerMonitor::start(&cluster);
    let mut conversations = Vec::new();
    for _ in 0..POSTS {
        conversations.push(client.create_conversation(Api::Widget).await);
    }
    let mut all = Vec::new();
    for round in 0..size("CHAOS_ROUNDS", 6) {
        cluster.run(&["credit", "chaos", "0.10", "--reference", &format!("round-{round}")]);
        let posts = conversations.iter().enumerate().map(|(nth, conversation)| {
            let number = round * POSTS + nth;
            let operation = keyed_operation(
                number,
                conversation,
                format!("conversation-{nth} {number} {}", Plan::Plain.word()),
            );
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.perform(operation, nth).await })
        });
        let posts: Vec<_> = posts.collect();
        if round % 2 == 1 {
            // A random moment for the kill.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            let node = random.random_range(0..processes);
            cluster.kill(node);
            cluster.start_node(node).await;
        }
        let done = join_operations(posts).await;
        let answered = done.iter().filter(|done| matches!(done.outcome, Outcome::Ok(_))).count();
        let refused = done.iter().filter(|done| is_insufficient(&done.outcome)).count();
        assert_eq!((answered, refused), (PAID, POSTS - PAID), "round {round}");
        assert_eq!(Reader::new(&cluster).balance().await, 0, "round {round}");
        all.extend(done);
    }
    let evidence = gather(&cluster, all, monitor.stop().await).await;
    check(&evidence, test, &format!("in each round {POSTS} at once for the price of {PAID}"));
}

fn is_insufficient(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(response) if response.error.as_deref() == Some("insufficient_balance"))
}

/// Sends each key many times at once, to all processes: every response has the same bytes.
async fn duplicates(test: &str, backend: Backend, processes: usize) {
    let seed = seed(test);
    let (keys, duplicates, kills) =
        (size("CHAOS_KEYS", 48), size("CHAOS_DUPLICATES", 8), size("CHAOS_KILLS", 8).min(20));
    let cluster = Cluster::start(Setup::new(backend, processes)).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, seed)));
    let monitor = LedgerMonitor::start(&cluster);
    let is_over = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill_until(Arc::clone(&client), Arc::clone(&is_over), seed, kills / 2));
    let mut all = Vec::new();
    // Eight keys at once.
    for first in (0..keys).step_by(8) {
        let keys = (first..keys.min(first + 8)).map(|number| send_duplicates(&client, number, duplicates));
        all.extend(join_all(keys).await);
    }
    is_over.store(true, Ordering::Relaxed);
    killer.await.unwrap();
    for done in &all {
        let mut other = done.operation.clone();
        other.text.push_str(" otherwise");
        let response = client.send(&other, &cluster.some_address(0).await).await.unwrap();
        assert_eq!(
            (response.status, response.error.as_deref()),
            (422, Some("idempotency_key_reused")),
            "{response:?}"
        );
    }
    let evidence = gather(&cluster, all, monitor.stop().await).await;
    check(&evidence, test, &format!("{keys} keys, {duplicates} duplicates each"));
}

/// Sends all duplicates of one message, and returns one of them.
async fn send_duplicates(client: &Arc<Client>, number: usize, duplicates: usize) -> CompletedOperation {
    let conversation = client.create_conversation(Api::nth(number)).await;
    let plan = [Plan::Plain, Plan::Note, Plan::Refuse, Plan::Lookup][number / 2 % 4];
    let operation = keyed_operation(number, &conversation, format!("conversation-{number} {}", plan.word()));
    let sent = (0..duplicates).map(|nth| {
        let (client, operation) = (Arc::clone(client), operation.clone());
        tokio::spawn(async move { client.perform(operation, nth).await })
    });
    let mut done = join_operations(sent.collect()).await;
    let response: Vec<_> =
        done.iter().map(|done| done.outcome.response().expect("a key gets an outcome")).collect();
    for duplicate in &response {
        assert_eq!(
            (duplicate.status, &duplicate.body),
            (response[0].status, &response[0].body),
            "{operation:?}"
        );
    }
    assert!(
        response.iter().filter(|duplicate| !duplicate.is_replay).count() <= 1,
        "{operation:?}: {response:#?}"
    );
    done.pop().expect("there is a duplicate")
}

async fn kill_until(client: Arc<Client>, is_over: Arc<AtomicBool>, seed: u64, kills: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = &client.cluster;
    for _ in 0..kills {
        // Random moments for the kills.
        tokio::time::sleep(Duration::from_millis(random.random_range(100..600))).await;
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let node = random.random_range(0..cluster.len());
        cluster.kill(node);
        cluster.start_node(node).await;
    }
}

fn keyed_operation(number: usize, conversation: &Conversation, text: String) -> Operation {
    Operation {
        number,
        conversation: conversation.clone(),
        text,
        key: Some(format!("key-{number}")),
        auto_reply: true,
        is_streamed: false,
    }
}
