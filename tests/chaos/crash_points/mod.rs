//! A process is killed at each step of the processing of a message ([`Point`]). The fakes and the fault proxies trigger the kill
//! when they observe that step.
//!
//! On PostgreSQL the fault proxy in front of the database observes [`Point::Admitted`] and [`Point::ModelAnswered`]. SQLite
//! has no connection to observe. There, `Admitted` is the first byte of the response of the platform API, or the model call
//! of the widget API; `ModelAnswered` is the last byte of the model's answer, and the server may have journaled the answer
//! before it died.
//!
//! `migration.rs` kills a process during a migration; `webhooks.rs` kills one during a delivery.

mod scenario;

use std::sync::Arc;
use std::time::Duration;

use self::scenario::Scenario;
use crate::checker::check;
use crate::client::{Api, Client};
use crate::cluster::{Cluster, DatabaseRoute, Setup};
use crate::evidence::gather;
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::LedgerMonitor;
use crate::sizes::size;
use crate::support::db::Backend;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// Half of the request has arrived.
    RequestHalfSent,
    /// The message is committed, and the client has no answer.
    Admitted,
    /// The model was called. A client of the platform API has its answer.
    ModelCalled,
    /// The model has answered, and nothing of the answer is committed.
    ModelAnswered,
    /// A tool was called, and has not answered.
    ToolCalled,
    /// A tool's result is committed, and the model is called again.
    ToolResultStored,
    /// The reply is committed, and the client has no answer.
    ReplyStored,
}

/// Each point with the message plans that reach it.
const ROWS: [(Point, Plan); 11] = [
    (Point::RequestHalfSent, Plan::Plain),
    (Point::Admitted, Plan::Plain),
    (Point::ModelCalled, Plan::Plain),
    (Point::ModelAnswered, Plan::Plain),
    (Point::ModelAnswered, Plan::Note),
    (Point::ToolCalled, Plan::Lookup),
    (Point::ToolCalled, Plan::Keyed),
    (Point::ToolCalled, Plan::Note),
    (Point::ToolResultStored, Plan::Note),
    (Point::ReplyStored, Plan::Plain),
    (Point::ReplyStored, Plan::Lookup),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run("crash_points_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_two_processes() {
    run("crash_points_postgres", Backend::Postgres, 2).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    // Half of the lease of the other tests, because every message here waits for a takeover.
    let setup = Setup::new(backend, processes)
        .env("REJOINDER_TURN__LEASE", "1s")
        .database_route(DatabaseRoute::FaultProxy);
    let cluster = Cluster::start(setup).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, 0)));
    let monitor = LedgerMonitor::start(&cluster);
    let mut done = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..size("CHAOS_POINTS", 1) {
        for (nth, (point, plan)) in ROWS.into_iter().enumerate() {
            for api in [Api::Widget, Api::Platform] {
                let number = (round * ROWS.len() + nth) * 2 + usize::from(api == Api::Platform);
                let scenario = Scenario::new(&client, number, (point, plan), api).await;
                let (outcome, took) = scenario.run().await;
                slowest = slowest.max(took);
                done.push(outcome);
            }
        }
    }
    let evidence = gather(&cluster, done, monitor.stop().await).await;
    check(&evidence, test, &format!("at most {slowest:?} from the kill to the reply"));
}
