//! SIGTERM during work: running turns are finished, handed back, or failed and refunded if their request waits in this
//! process.

use std::sync::Arc;

use crate::checker::check;
use crate::client::{Api, Client, Operation, Outcome, join_operations};
use crate::cluster::{Cluster, Setup};
use crate::evidence::gather;
use crate::fakes::{self, Plan};
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::support::db::Backend;
use crate::support::fake_model::ModelRequest;
use crate::support::script::Gate;

/// Turns that run at the signal, half of them through each API. Half of each are answered within the grace period.
const TURNS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_and_a_restart() {
    run("stop_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_another_process() {
    run("stop_postgres", Backend::Postgres, 2).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    let setup = Setup::new(backend, processes).env("REJOINDER_SHUTDOWN_GRACE", "2s");
    let cluster = Cluster::start(setup).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let in_time = Gate::closed();
    let (reply_gate, never) = (in_time.clone(), Gate::closed());
    cluster.fakes.model.script().respond_with(move |request: &ModelRequest| {
        let is_late = request.prompt().is_some_and(|prompt| prompt.contains(" late "));
        fakes::default_answer(request).gated_by(if is_late { &never } else { &reply_gate })
    });

    let address = cluster.address(0).expect("the process runs");
    let mut waiting = Vec::new();
    for number in 0..TURNS {
        let conversation = client.create_conversation(Api::nth(number)).await;
        let haste = if number % 4 < 2 { "early" } else { "late" };
        let message = format!("conversation-{number} {haste} {}", Plan::Plain.word());
        let operation = Operation {
            number,
            conversation,
            text: message,
            key: None,
            auto_reply: true,
            is_streamed: false,
        };
        let (client, address) = (Arc::clone(&client), address.clone());
        waiting.push(tokio::spawn(async move { client.perform_at(operation, &address).await }));
    }
    cluster.fakes.model.calls().wait_for_count(TURNS).await;
    cluster.terminate(0);
    in_time.open();
    let status = cluster.ended(0).await;
    assert_eq!(status.code(), Some(0), "{}", cluster.log(0));
    cluster.fakes.model.script().respond_with(fakes::default_answer);
    if processes == 1 {
        cluster.start_node(0).await;
    }

    let done = join_operations(waiting).await;
    for done in &done {
        let is_right = match (done.operation.conversation.api, done.operation.text.contains(" late ")) {
            (Api::Widget, true) => {
                matches!(&done.outcome, Outcome::Failed(response) if response.status == 400)
            }
            _ => matches!(done.outcome, Outcome::Ok(_)),
        };
        assert!(is_right, "{done:#?}");
    }
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    let completed = evidence.turns.values().filter(|turn| turn["state"] == "completed").count();
    assert_eq!(completed, TURNS / 4 * 3, "all but the late ones of the widget API");
    check(&evidence, test, &format!("{TURNS} turns ran at SIGTERM"));
}
