//! T-2: a process is killed at each point of the way of a message. The fakes and the lines do it, at the moment that they
//! see.
//!
//! | point | when |
//! |---|---|
//! | K1 | half of the request has arrived |
//! | K2 | the message is committed; the client hears nothing |
//! | K3 | the model was asked; at the platform door the client has its answer |
//! | K4 | the model has answered; nothing of it is kept |
//! | K5 | a tool was called |
//! | K6 | a tool's result was kept: the model is asked again |
//! | K7 | the reply is stored; the client hears nothing |
//! | K9 | the database is being migrated, see `migration.rs` |
//!
//! On PostgreSQL K2 and K4 are seen on the line to the database. On SQLite, where there is none, K2 is the first byte of
//! the answer, or at the widget door the model's being asked; K4 is the last byte of the model's answer, of which the
//! server may or may not have kept something before it died.

mod scene;

use std::sync::Arc;
use std::time::Duration;

use self::scene::Scene;
use crate::checker::check;
use crate::client::{Api, Client};
use crate::cluster::{Between, Cluster, Setup};
use crate::evidence::gather;
use crate::fakes::Plan;
use crate::history::History;
use crate::ledger_monitor::Watch;
use crate::sizes::size;
use crate::support::db::Backend;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    HalfSent,
    Begun,
    Asked,
    Answered,
    ToolCalled,
    ToolKept,
    Replied,
}

/// Each point with the messages that lead to it.
const ROWS: [(Point, Plan); 11] = [
    (Point::HalfSent, Plan::Plain),
    (Point::Begun, Plan::Plain),
    (Point::Asked, Plan::Plain),
    (Point::Answered, Plan::Plain),
    (Point::Answered, Plan::Note),
    (Point::ToolCalled, Plan::Lookup),
    (Point::ToolCalled, Plan::Keyed),
    (Point::ToolCalled, Plan::Note),
    (Point::ToolKept, Plan::Note),
    (Point::Replied, Plan::Plain),
    (Point::Replied, Plan::Lookup),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    run("points_sqlite", Backend::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_two_processes() {
    run("points_postgres", Backend::Postgres, 2).await;
}

async fn run(test: &str, backend: Backend, processes: usize) {
    // Half of what the other tests have, for here each message waits for a takeover.
    let setup = Setup::new(backend, processes).env("REJOINDER_TURN__LEASE", "1s").between(Between::Tap);
    let cluster = Cluster::start(setup).await;
    let client = Client::new(&cluster, &Arc::new(History::new(test, 0)));
    let watch = Watch::start(&cluster);
    let mut done = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..size("CHAOS_POINTS", 1) {
        for (nth, (point, plan)) in ROWS.into_iter().enumerate() {
            for api in [Api::Widget, Api::Platform] {
                let number = (round * ROWS.len() + nth) * 2 + usize::from(api == Api::Platform);
                let scene = Scene::new(&client, number, (point, plan), api).await;
                let (outcome, took) = scene.play().await;
                slowest = slowest.max(took);
                done.push(outcome);
            }
        }
    }
    let evidence = gather(&cluster, done, watch.end().await).await;
    check(&evidence, test, &format!("from the kill to the reply at most {slowest:?}"));
}
