//! T-3 and T-4: many at once for the last of the money, and many at once with one key, while processes are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::checker::check;
use crate::client::{Api, Client, Done, Operation, Outcome, Talk};
use crate::cluster::{Cluster, Setup};
use crate::evidence::{Reader, gather};
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::Watch;
use crate::sizes::{seed, size};
use crate::support::db::Backend;

/// Posts at once, of which the balance pays for so many.
const POSTS: usize = 64;
const PAID: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_money_is_spent_once_sqlite() {
    race("race_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_money_is_spent_once_postgres() {
    race("race_postgres", Backend::Postgres, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_one_sqlite() {
    duplicates("duplicates_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_one_postgres() {
    duplicates("duplicates_postgres", Backend::Postgres, 2).await;
}

/// In each round there is money for some of the posts: exactly so many are answered. Every other round has a kill.
async fn race(test: &str, backend: Backend, processes: usize) {
    let seed = seed(test);
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Cluster::start(Setup::new(backend, processes).balance("0.00")).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, seed)));
    let watch = Watch::start(&cluster);
    let mut talks = Vec::new();
    for _ in 0..POSTS {
        talks.push(client.talk(Api::Widget, "widget").await);
    }
    let mut all = Vec::new();
    for round in 0..size("CHAOS_ROUNDS", 6) {
        cluster.run(&["credit", "chaos", "0.10", "--reference", &format!("round-{round}")]);
        let posts = talks.iter().enumerate().map(|(nth, talk)| {
            let number = round * POSTS + nth;
            let operation = keyed(number, talk, format!("talk-{nth} {number} {}", Plan::Plain.word()));
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.perform(operation, nth).await })
        });
        let posts: Vec<_> = posts.collect();
        if round % 2 == 1 {
            // The moment of the fault.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            let node = random.random_range(0..processes);
            cluster.kill(node);
            cluster.start_node(node).await;
        }
        let done: Vec<Done> = join_all(posts).await.into_iter().map(Result::unwrap).collect();
        let answered = done.iter().filter(|done| matches!(done.outcome, Outcome::Ok(_))).count();
        let refused = done.iter().filter(|done| is_insufficient(&done.outcome)).count();
        assert_eq!((answered, refused), (PAID, POSTS - PAID), "round {round}");
        assert_eq!(Reader::new(&cluster).balance().await, 0, "round {round}");
        all.extend(done);
    }
    let evidence = gather(&cluster, all, watch.end().await).await;
    check(&evidence, test, &format!("in each round {POSTS} at once for the price of {PAID}"));
}

fn is_insufficient(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(told) if told.error.as_deref() == Some("insufficient_balance"))
}

/// Each key is sent by many at once, to any process: all hear the same bytes.
async fn duplicates(test: &str, backend: Backend, processes: usize) {
    let seed = seed(test);
    let (keys, duplicates, kills) =
        (size("CHAOS_KEYS", 48), size("CHAOS_TWINS", 8), size("CHAOS_KILLS", 8).min(20));
    let cluster = Cluster::start(Setup::new(backend, processes)).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, seed)));
    let watch = Watch::start(&cluster);
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
        let told = client.send(&other, &cluster.some_address(0).await).await.unwrap();
        assert_eq!((told.status, told.error.as_deref()), (422, Some("idempotency_key_reused")), "{told:?}");
    }
    let evidence = gather(&cluster, all, watch.end().await).await;
    check(&evidence, test, &format!("{keys} keys, {duplicates} twins each"));
}

/// One message by all its twins, as one.
async fn send_duplicates(client: &Arc<Client>, number: usize, duplicates: usize) -> Done {
    let (api, kind) = [(Api::Widget, "widget"), (Api::Platform, "api")][number % 2];
    let talk = client.talk(api, kind).await;
    let plan = [Plan::Plain, Plan::Note, Plan::Refuse, Plan::Lookup][number / 2 % 4];
    let operation = keyed(number, &talk, format!("talk-{number} {}", plan.word()));
    let sent = (0..duplicates).map(|nth| {
        let (client, operation) = (Arc::clone(client), operation.clone());
        tokio::spawn(async move { client.perform(operation, nth).await })
    });
    let mut done: Vec<Done> =
        join_all(sent.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
    let told: Vec<_> = done.iter().map(|done| done.outcome.told().expect("a key gets an outcome")).collect();
    for duplicate in &told {
        assert_eq!((duplicate.status, &duplicate.body), (told[0].status, &told[0].body), "{operation:?}");
    }
    assert!(told.iter().filter(|duplicate| !duplicate.is_replay).count() <= 1, "{operation:?}: {told:#?}");
    done.pop().expect("there is a twin")
}

async fn kill_until(client: Arc<Client>, is_over: Arc<AtomicBool>, seed: u64, kills: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = &client.cluster;
    for _ in 0..kills {
        // The moments of the faults.
        tokio::time::sleep(Duration::from_millis(random.random_range(100..600))).await;
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let node = random.random_range(0..cluster.len());
        cluster.kill(node);
        cluster.start_node(node).await;
    }
}

fn keyed(number: usize, talk: &Talk, text: String) -> Operation {
    Operation { number, talk: talk.clone(), text, key: Some(format!("key-{number}")), auto_reply: true }
}
