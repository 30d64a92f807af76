//! Messages through both APIs, with and without keys, some of them answered as streams, while at random moments processes are
//! killed, stopped and frozen, and their database is unreachable or hangs.

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
use crate::client::{Api, Client, CompletedOperation, Conversation, Operation, Outcome};
use crate::cluster::{Cluster, DatabaseRoute, Setup};
use crate::evidence::gather;
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::sizes::{seed, size};
use crate::support::db::Backend;
use crate::support::proxy::LinkState;
use crate::support::wait::wait_at_most;

/// Clients that each send one message after the other.
const SENDERS: usize = 24;
/// Duration of a freeze, longer than the lease.
const FROZEN: Duration = Duration::from_secs(3);
/// Duration of a database outage, long enough for renewals and writes to fail.
const AWAY: Duration = Duration::from_secs(1);
/// Upper bound for the messages between two faults.
const BETWEEN_FAULTS: Duration = Duration::from_mins(10);
/// Conversations that the senders share.
const CONVERSATIONS: usize = 30;

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
    // The two tests on PostgreSQL share the size of the one on SQLite.
    let tests = if backend == Backend::Sqlite { 1 } else { 2 };
    let (messages, kills) = (size("CHAOS_MESSAGES", 400) / tests, size("CHAOS_KILLS", 8).div_ceil(tests));
    // Short, because turns in a stopping process may wait until the end of the grace period.
    let setup = Setup::new(backend, processes)
        .env("REJOINDER_SHUTDOWN_GRACE", "2s")
        .database_route(DatabaseRoute::Proxy);
    let cluster = Cluster::start(setup).await;
    let history = Arc::new(History::new(test, seed));
    let client = Client::new(&cluster, &history);
    let monitor = LedgerMonitor::start(&cluster);
    let sent = Arc::new(AtomicUsize::new(0));

    let conversations = create_conversations(&client).await;
    let counts: Arc<[AtomicUsize]> = conversations.iter().map(|_| AtomicUsize::new(0)).collect();
    let senders = (0..SENDERS).map(|number| {
        let random = StdRng::seed_from_u64(seed ^ number as u64);
        let (client, conversations, counts) =
            (Arc::clone(&client), Arc::clone(&conversations), Arc::clone(&counts));
        let sender = Sender { client, random, number, conversations, counts };
        let sent = Arc::clone(&sent);
        tokio::spawn(async move { sender.run(messages, &sent).await })
    });
    let senders: Vec<_> = senders.collect();
    let killer = tokio::spawn(kill_at_random(Arc::clone(&client), Arc::clone(&sent), seed, messages, kills));
    let done: Vec<CompletedOperation> =
        join_all(senders).await.into_iter().flat_map(Result::unwrap).collect();
    killer.await.unwrap();
    replay_all(&client, &done).await;

    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, test, &format!("{processes} processes, {kills} faults"));
}

/// Half of them for each API; the first is a test conversation, which is free.
async fn create_conversations(client: &Client) -> Arc<[Conversation]> {
    let mut conversations = vec![client.create_test_conversation().await];
    for _ in 0..CONVERSATIONS / 2 {
        conversations.push(client.create_conversation(Api::Platform).await);
        conversations.push(client.create_conversation(Api::Widget).await);
    }
    conversations.into()
}

struct Sender {
    client: Arc<Client>,
    random: StdRng,
    number: usize,
    conversations: Arc<[Conversation]>,
    /// Number of keys used so far in each conversation.
    counts: Arc<[AtomicUsize]>,
}

impl Sender {
    /// Sends until all senders together have sent `messages`.
    async fn run(mut self, messages: usize, sent: &AtomicUsize) -> Vec<CompletedOperation> {
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
        let nth = self.random.random_range(0..self.conversations.len());
        let conversation = self.conversations[nth].clone();
        let plan = match self.random.random_range(0..20) {
            0..8 => Plan::Plain,
            8..11 => Plan::Lookup,
            11..14 => Plan::Note,
            14..16 => Plan::Keyed,
            16..18 => Plan::Both,
            18 => [Plan::Loop, Plan::Flaky][number % 2],
            _ => Plan::Refuse,
        };
        let is_platform = conversation.api == Api::Platform;
        let auto_reply = !is_platform || self.random.random_range(0..10) > 0;
        // The same few keys are used in each widget conversation and in the platform API: their scopes differ.
        let name = if is_platform { number } else { self.counts[nth].fetch_add(1, Ordering::Relaxed) };
        let has_key = is_platform || nth == 0 || self.random.random_range(0..3) > 0;
        // A third of them.
        let is_streamed = auto_reply && self.random.random_range(0..3) == 0;
        Operation {
            number,
            conversation,
            text: format!("conversation-{nth} {number} of sender {}, {}", self.number, plan.word()),
            key: has_key.then(|| format!("key-{name}")),
            auto_reply,
            is_streamed,
        }
    }
}

/// Injects a fault each time that a share of the messages has been sent, after a random delay.
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
        client.history.record("fault", &json!({ "node": node, "fault": format!("{fault:?}") }));
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
                line.set(LinkState::Up);
                continue;
            }
        }
        cluster.start_node(node).await;
        client.history.record("start", &json!({ "node": node }));
    }
}

/// A fault of one process.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    Freeze,
    /// A fault of the connection to the database.
    Store(LinkState),
}

impl Fault {
    /// Mostly a kill. A single process is never frozen, because no other would take its turns, and its database is a file.
    fn choose(random: &mut StdRng, processes: usize) -> Self {
        match random.random_range(0..20) {
            0..2 => Self::Stop,
            2..5 if processes > 1 => Self::Freeze,
            5 if processes > 1 => Self::Store(LinkState::Down),
            6 if processes > 1 => Self::Store(LinkState::Frozen),
            7 if processes > 1 => Self::Store(LinkState::BlackHole),
            _ => Self::Kill,
        }
    }
}

/// Every operation with a key is replayed with the same bytes or, as a stream, with the same text, by any process.
async fn replay_all(client: &Client, done: &[CompletedOperation]) {
    let keyed = done.iter().filter(|done| done.operation.key.is_some()).enumerate();
    let replay = async |(nth, done): (usize, &CompletedOperation)| {
        let Some(response) = done.outcome.response() else { return };
        if done.operation.is_streamed {
            let again = client.perform_streamed(done.operation.clone(), nth, |_| {}).await;
            assert_eq!(streamed_text(&again.outcome), streamed_text(&done.outcome), "{done:?} {again:?}");
            return;
        }
        let address = client.cluster.some_address(nth).await;
        let again = client.send(&done.operation, &address).await.unwrap();
        assert_eq!((again.status, &again.body), (response.status, &response.body), "{:?}", done.operation);
        assert!(again.is_replay, "{:?}", done.operation);
    };
    stream::iter(keyed).for_each_concurrent(8, replay).await;
}

/// The text with which the client of a stream has ended, if there is a reply.
fn streamed_text(outcome: &Outcome) -> Option<&str> {
    outcome.response()?.streamed.as_ref()?.text()
}
