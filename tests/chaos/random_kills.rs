//! T-1: messages at both doors, with keys and without, while processes are killed, stopped and frozen, and their store
//! is away or hangs, at random moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::checker::check;
use crate::client::{Api, Client, Done, Operation, Talk};
use crate::cluster::{Between, Cluster, Setup};
use crate::evidence::gather;
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::Watch;
use crate::sizes::{seed, size};
use crate::support::db::Backend;
use crate::support::proxy::Line;
use crate::support::wait::wait_at_most;

/// People who send one message after the other.
const PEOPLE: usize = 24;
/// Longer than the lease.
const FROZEN: Duration = Duration::from_secs(3);
/// Long enough for renewals and writes to fail.
const AWAY: Duration = Duration::from_secs(1);
/// Longer than the messages between two faults may take.
const BETWEEN_FAULTS: Duration = Duration::from_mins(10);
/// Conversations that they have together.
const TALKS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_one_process() {
    run("random_kills_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_two_processes() {
    run("random_kills_postgres_2", Backend::Postgres, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_three_processes() {
    run("random_kills_postgres_3", Backend::Postgres, 3).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    let seed = seed(test);
    // The two on PostgreSQL have together what the one on SQLite has.
    let tests = if backend == Backend::Sqlite { 1 } else { 2 };
    let (messages, kills) = (size("CHAOS_MESSAGES", 400) / tests, size("CHAOS_KILLS", 8).div_ceil(tests));
    // Short, for a process that is told to stop may have turns that wait for others until then.
    let setup = Setup::new(backend, processes).env("REJOINDER_SHUTDOWN_GRACE", "2s").between(Between::Proxy);
    let cluster = Cluster::start(setup).await;
    let history = Arc::new(History::new(test, seed));
    let client = Client::new(&cluster, &history);
    let watch = Watch::start(&cluster);
    let sent = Arc::new(AtomicUsize::new(0));

    let talks = make_talks(&client).await;
    let counts: Arc<[AtomicUsize]> = talks.iter().map(|_| AtomicUsize::new(0)).collect();
    let people = (0..PEOPLE).map(|number| {
        let random = StdRng::seed_from_u64(seed ^ number as u64);
        let (client, talks, counts) = (Arc::clone(&client), Arc::clone(&talks), Arc::clone(&counts));
        let person = Person { client, random, number, talks, counts };
        let sent = Arc::clone(&sent);
        tokio::spawn(async move { person.talk(messages, &sent).await })
    });
    let people: Vec<_> = people.collect();
    let killer = tokio::spawn(kill_at_random(Arc::clone(&client), Arc::clone(&sent), seed, messages, kills));
    let done: Vec<Done> = join_all(people).await.into_iter().flat_map(Result::unwrap).collect();
    killer.await.unwrap();
    replay_all(&client, &done).await;

    let evidence = gather(&cluster, done, watch.end().await).await;
    check(&evidence, test, &format!("{processes} processes, {kills} faults"));
}

/// Half of them for each door; the first is free.
async fn make_talks(client: &Client) -> Arc<[Talk]> {
    let mut talks = vec![client.talk(Api::Widget, "test").await];
    for _ in 0..TALKS / 2 {
        talks.push(client.talk(Api::Platform, "api").await);
        talks.push(client.talk(Api::Widget, "widget").await);
    }
    talks.into()
}

struct Person {
    client: Arc<Client>,
    random: StdRng,
    number: usize,
    talks: Arc<[Talk]>,
    /// How many keys each conversation has had.
    counts: Arc<[AtomicUsize]>,
}

impl Person {
    /// Sends until all people together have sent enough.
    async fn talk(mut self, messages: usize, sent: &AtomicUsize) -> Vec<Done> {
        let mut done = Vec::new();
        loop {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= messages {
                return done;
            }
            let operation = self.choose(number);
            let node = self.random.random_range(0..self.client.cluster.len());
            done.push(self.client.perform(operation, node).await);
        }
    }

    fn choose(&mut self, number: usize) -> Operation {
        let nth = self.random.random_range(0..self.talks.len());
        let talk = self.talks[nth].clone();
        let plan = match self.random.random_range(0..20) {
            0..8 => Plan::Plain,
            8..11 => Plan::Lookup,
            11..14 => Plan::Note,
            14..16 => Plan::Keyed,
            16..18 => Plan::Both,
            18 => [Plan::Loop, Plan::Flaky][number % 2],
            _ => Plan::Refuse,
        };
        let is_platform = talk.api == Api::Platform;
        let auto_reply = !is_platform || self.random.random_range(0..10) > 0;
        // The same few keys in each widget conversation and at the other door: they never meet.
        let name = if is_platform { number } else { self.counts[nth].fetch_add(1, Ordering::Relaxed) };
        let has_key = is_platform || nth == 0 || self.random.random_range(0..3) > 0;
        Operation {
            number,
            talk,
            text: format!("talk-{nth} {number} of person {}, {}", self.number, plan.word()),
            key: has_key.then(|| format!("key-{name}")),
            auto_reply,
        }
    }
}

/// Kills a process each time that a share of the messages has been sent, at a moment of the work that follows.
async fn kill_at_random(
    client: Arc<Client>,
    sent: Arc<AtomicUsize>,
    seed: u64,
    messages: usize,
    kills: usize,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = &client.cluster;
    for nth in 1..=kills {
        let due = messages * nth / (kills + 1);
        let is_due = async || (sent.load(Ordering::Relaxed) >= due).then_some(());
        wait_at_most(BETWEEN_FAULTS, "the moment of the next fault", is_due).await;
        // The moment of the fault.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        let node = random.random_range(0..cluster.len());
        let fault = Fault::choose(&mut random, cluster.len());
        client.history.enter("fault", &json!({ "node": node, "fault": format!("{fault:?}") }));
        match fault {
            Fault::Kill => drop(cluster.kill(node)),
            Fault::Stop => {
                cluster.terminate(node);
                let status = cluster.ended(node).await;
                assert_eq!(status.code(), Some(0), "{}", cluster.log(node));
            }
            Fault::Freeze => {
                cluster.freeze(node);
                tokio::time::sleep(FROZEN).await;
                cluster.wake(node);
                continue;
            }
            Fault::Store(fault) => {
                let line = cluster.line.as_ref().expect("only PostgreSQL has a line");
                line.set(fault);
                tokio::time::sleep(AWAY).await;
                line.set(Line::Works);
                continue;
            }
        }
        cluster.start_node(node).await;
        client.history.enter("start", &json!({ "node": node }));
    }
}

/// What happens to a process.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    Freeze,
    /// What becomes of the line to the store.
    Store(Line),
}

impl Fault {
    /// Mostly a kill; a single process is not frozen, for nobody takes its place, and its store is a file.
    fn choose(random: &mut StdRng, processes: usize) -> Self {
        match random.random_range(0..20) {
            0..2 => Self::Stop,
            2..5 if processes > 1 => Self::Freeze,
            5 if processes > 1 => Self::Store(Line::Away),
            6 if processes > 1 => Self::Store(Line::Frozen),
            7 if processes > 1 => Self::Store(Line::BlackHole),
            _ => Self::Kill,
        }
    }
}

/// Whoever asks again with a key gets the same bytes, from any process.
async fn replay_all(client: &Client, done: &[Done]) {
    let keyed = done.iter().filter(|done| done.operation.key.is_some()).enumerate();
    let replay = async |(nth, done): (usize, &Done)| {
        let Some(told) = done.outcome.told() else { return };
        let address = client.cluster.some_address(nth).await;
        let again = client.send(&done.operation, &address).await.unwrap();
        assert_eq!((again.status, &again.body), (told.status, &told.body), "{:?}", done.operation);
        assert!(again.is_replay, "{:?}", done.operation);
    };
    stream::iter(keyed).for_each_concurrent(8, replay).await;
}
