//! What the system no longer gives: no room on the disk, no more open files. Refusals are clean, and when there is enough
//! again, the same process goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checker::check;
use crate::client::{Api, Client, Done, Operation, Outcome, Talk};
use crate::cluster::{Cluster, Setup, try_get};
use crate::evidence::gather;
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::ledger_monitor::Watch;
use crate::support::db::Backend;
use crate::support::fake_model::ModelRequest;
use crate::support::script::Gate;
use crate::support::wait::wait_for;

/// As long as a client is kept waiting for the answer that there is no store; twice that on a busy machine.
const PROMPT: Duration = Duration::from_secs(10);
/// Clients that connect and say nothing: more than there are spare files, fewer than the system lets wait.
const IDLE: usize = 64;
/// Open files that a process is left, besides those that it has.
const SPARE: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let cluster = Cluster::start(Setup::new(Backend::Sqlite, 1)).await;
    let client = Client::new(&cluster, &Arc::new(History::new("disk", 0)));
    let watch = Watch::start(&cluster);
    let (running, gate, talks) = hold_one_on_each_api(&client).await;
    let address = cluster.address(0).unwrap();

    cluster.limit(0, "--fsize=4096:");
    let mut done = Vec::new();
    for (nth, talk) in talks.iter().enumerate() {
        let begun = Instant::now();
        let operation = message(10 + nth, talk, Plan::Plain);
        let told = client.send(&operation, &address).await.unwrap();
        let status = if talk.api == Api::Widget { 400 } else { 500 };
        assert_eq!(told.status, status, "{told:?}");
        // SQLite writes at the commit, and what failed there is nobody's to know.
        let code = told.error.as_deref();
        assert!(matches!(code, Some("service_unavailable" | "outcome_unknown")), "{told:?}");
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
        done.push(Done { operation, outcome: Outcome::Unknown, tries: 1 });
    }
    gate.open();
    assert!(try_get(&format!("{address}/healthz")).await.is_some(), "it lives");
    cluster.limit(0, "--fsize=unlimited:");

    done.extend(all_answered(running).await);
    for (nth, talk) in talks.iter().enumerate() {
        let answered = client.perform(message(20 + nth, talk, Plan::Note), 0).await;
        assert!(matches!(answered.outcome, Outcome::Ok(_)), "{answered:?}");
        done.push(answered);
    }
    let evidence = gather(&cluster, done, watch.end().await).await;
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
    let (running, gate, talks) = hold_one_on_each_api(&client).await;
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

    for (nth, talk) in talks.iter().enumerate() {
        let answered = client.perform(message(20 + nth, talk, Plan::Note), 0).await;
        assert!(matches!(answered.outcome, Outcome::Ok(_)), "{answered:?}");
        done.push(answered);
    }
    let watch = Watch::start(&cluster);
    let evidence = gather(&cluster, done, watch.end().await).await;
    check(&evidence, test, &format!("{IDLE} idle clients took the last of {most} open files"));
}

type Running = Vec<tokio::task::JoinHandle<Done>>;

/// A turn of each door that waits for the model; and the talks for what comes later.
async fn hold_one_on_each_api(client: &Arc<Client>) -> (Running, Gate, [Talk; 2]) {
    let gate = Gate::closed();
    let held = gate.clone();
    client.cluster.fakes.model.script().otherwise(move |request: &ModelRequest| {
        let usual = fakes::usual_answer(request);
        let is_held = request.last_text("user").is_some_and(|said| said.contains(" held "));
        if is_held { usual.held_by(&held) } else { usual }
    });
    let mut running = Vec::new();
    for (number, (api, kind)) in [(Api::Widget, "widget"), (Api::Platform, "api")].into_iter().enumerate() {
        let talk = client.talk(api, kind).await;
        let mut operation = message(number, &talk, Plan::Plain);
        operation.text = format!("talk-{number} held {}", Plan::Plain.word());
        let client = Arc::clone(client);
        running.push(tokio::spawn(async move { client.perform(operation, 0).await }));
    }
    client.cluster.fakes.model.calls().arrived(2).await;
    let talks = [client.talk(Api::Widget, "widget").await, client.talk(Api::Platform, "api").await];
    (running, gate, talks)
}

async fn all_answered(running: Running) -> Vec<Done> {
    let mut done = Vec::new();
    for running in running {
        let answered = running.await.unwrap();
        assert!(matches!(answered.outcome, Outcome::Ok(_)), "{answered:?}");
        done.push(answered);
    }
    done
}

fn message(number: usize, talk: &Talk, plan: Plan) -> Operation {
    let text = format!("talk-{}-{number} {}", talk.id, plan.word());
    Operation { number, talk: talk.clone(), text, key: None, auto_reply: true }
}
