//! A full disk and exhausted file descriptors: requests are refused cleanly, and the same process resumes once resources are
//! available again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checker::check;
use crate::client::{Api, Client, CompletedOperation, Conversation, Operation, Outcome, join_operations};
use crate::cluster::{Cluster, Setup, try_get};
use crate::evidence::gather;
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::support::db::Backend;
use crate::support::fake_model::ModelRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;

/// Twice the time after which a client is refused when the database does not answer, for a busy machine.
const PROMPT: Duration = Duration::from_secs(10);
/// Clients that connect and send nothing: more than there are spare descriptors, fewer than the listen backlog.
const IDLE: usize = 64;
/// File descriptors that a process may open besides those that it has.
const SPARE: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_recovers() {
    let cluster = Cluster::start(Setup::new(Backend::Sqlite, 1)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("disk", 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let (running, gate, conversations) = hold_one_on_each_api(&client).await;
    let address = cluster.address(0).unwrap();

    cluster.limit(0, "--fsize=4096:");
    let mut done = Vec::new();
    for (nth, conversation) in conversations.iter().enumerate() {
        let begun = Instant::now();
        let operation = message(10 + nth, conversation, Plan::Plain);
        let response = client.send(&operation, &address).await.unwrap();
        let status = if conversation.api == Api::Widget { 400 } else { 500 };
        assert_eq!(response.status, status, "{response:?}");
        // SQLite writes at the commit, and the outcome of a failed commit is unknown.
        let code = response.error.as_deref();
        assert!(matches!(code, Some("service_unavailable" | "outcome_unknown")), "{response:?}");
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
        done.push(CompletedOperation { operation, outcome: Outcome::Unknown, tries: 1 });
    }
    gate.open();
    assert!(try_get(&format!("{address}/healthz")).await.is_some(), "it starts");
    cluster.limit(0, "--fsize=unlimited:");

    done.extend(all_answered(running).await);
    for (nth, conversation) in conversations.iter().enumerate() {
        let answered = client.perform(message(20 + nth, conversation, Plan::Note), 0).await;
        assert!(matches!(answered.outcome, Outcome::Ok(_)), "{answered:?}");
        done.push(answered);
    }
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, "disk", "no write beyond 4 KiB of a file was possible for a while");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_files_run_out_sqlite() {
    run_out_of_files("files_sqlite", Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_files_run_out_postgres() {
    run_out_of_files("files_postgres", Backend::Postgres).await;
}

async fn run_out_of_files(test: &str, backend: Backend) {
    let cluster = Cluster::start(Setup::new(backend, 1)).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, 0)));
    let (running, gate, conversations) = hold_one_on_each_api(&client).await;
    let address = cluster.address(0).unwrap();

    let most = cluster.open_files(0) + SPARE;
    cluster.limit(0, &format!("--nofile={most}:"));
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap());
    }
    wait_for("the last open file", async || (cluster.open_files(0) >= most).then_some(())).await;
    gate.open();
    let mut done = all_answered(running).await;
    drop(idle);

    for (nth, conversation) in conversations.iter().enumerate() {
        let answered = client.perform(message(20 + nth, conversation, Plan::Note), 0).await;
        assert!(matches!(answered.outcome, Outcome::Ok(_)), "{answered:?}");
        done.push(answered);
    }
    let monitor = LedgerMonitor::start(&cluster);
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, test, &format!("{IDLE} idle clients took the last of {most} open files"));
}

type Running = Vec<tokio::task::JoinHandle<CompletedOperation>>;

/// Starts a turn through each API that waits for the model, and creates two further conversations.
async fn hold_one_on_each_api(client: &Arc<Client>) -> (Running, Gate, [Conversation; 2]) {
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    client.cluster.fakes.model.script().respond_with(move |request: &ModelRequest| {
        let reply = fakes::default_answer(request);
        let is_held = request.prompt().is_some_and(|prompt| prompt.contains(" held "));
        if is_held { reply.gated_by(&reply_gate) } else { reply }
    });
    let mut running = Vec::new();
    for (number, api) in Api::ALL.into_iter().enumerate() {
        let conversation = client.create_conversation(api).await;
        let mut operation = message(number, &conversation, Plan::Plain);
        operation.text = format!("conversation-{number} held {}", Plan::Plain.word());
        let client = Arc::clone(client);
        running.push(tokio::spawn(async move { client.perform(operation, 0).await }));
    }
    client.cluster.fakes.model.calls().wait_for_count(2).await;
    let conversations =
        [client.create_conversation(Api::Widget).await, client.create_conversation(Api::Platform).await];
    (running, gate, conversations)
}

async fn all_answered(running: Running) -> Vec<CompletedOperation> {
    let done = join_operations(running).await;
    assert!(done.iter().all(|done| matches!(done.outcome, Outcome::Ok(_))), "{done:#?}");
    done
}

fn message(number: usize, conversation: &Conversation, plan: Plan) -> Operation {
    let text = format!("conversation-{}-{number} {}", conversation.id, plan.word());
    Operation {
        number,
        conversation: conversation.clone(),
        text,
        key: None,
        auto_reply: true,
        is_streamed: false,
    }
}
