//! A process is killed while it migrates an empty database, and two processes migrate one database at once.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::cluster::{Cluster, Setup};
use crate::sizes::size;
use crate::support::db::Backend;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_start_completes_a_migration_on_sqlite() {
    kill_and_start(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_start_completes_a_migration_on_postgres() {
    kill_and_start(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_can_migrate_at_once() {
    let cluster = Cluster::empty(Setup::new(Backend::Postgres, 2)).await;
    tokio::join!(cluster.start_node(0), cluster.start_node(1));
}

/// Kills the first start on an empty database at ever later moments.
async fn kill_and_start(backend: Backend) {
    let rounds = size("CHAOS_POINTS", 1) * 4;
    for round in 0..u32::try_from(rounds).unwrap() {
        let cluster = Cluster::empty(Setup::new(backend, 1)).await;
        let mut first = cluster.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The delay chooses the moment of the kill, between the program's start and its first answer.
        tokio::time::sleep(Duration::from_millis(250) * round / u32::try_from(rounds).unwrap()).await;
        kill(&mut first);
        cluster.start_node(0).await;
    }
}

fn kill(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}
