//! K9: a kill while the database is being migrated at a start, and two first starts at once.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::cluster::{Cluster, Setup};
use crate::sizes::size;
use crate::support::db::Backend;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_is_completed_by_the_next_start() {
    kill_and_start(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_completed_by_the_next_start() {
    kill_and_start(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_starts_do_not_clash() {
    let cluster = Cluster::empty(Setup::new(Backend::Postgres, 2)).await;
    tokio::join!(cluster.start_node(0), cluster.start_node(1));
}

/// The first start of an empty database is killed at ever later moments, until it has come to its end.
async fn kill_and_start(backend: Backend) {
    let rounds = size("CHAOS_POINTS", 1) * 4;
    for round in 0..u32::try_from(rounds).unwrap() {
        let cluster = Cluster::empty(Setup::new(backend, 1)).await;
        let mut first = cluster.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The delay is the fault itself: between the program's start and its first answer.
        tokio::time::sleep(Duration::from_millis(250) * round / u32::try_from(rounds).unwrap()).await;
        kill(&mut first);
        cluster.start_node(0).await;
    }
}

fn kill(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}
