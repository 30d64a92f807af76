//! A PostgreSQL primary and a standby of it, for one test.

use std::process::{Command, Output};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;
use url::Url;

use super::wait::wait_for;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");

/// Both servers, which are stopped when this is dropped.
pub struct Replication {
    folder: TempDir,
    primary: Url,
    standby: Url,
}

impl Replication {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Output { status, stdout, stderr } = run("pair", &folder);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let ports = String::from_utf8(stdout).expect("two ports");
        let (primary, standby) = ports.trim().split_once(' ').expect("two ports");
        let url = |port: &str| {
            Url::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres")).expect("a URL")
        };
        Self { primary: url(primary), standby: url(standby), folder }
    }

    /// The cluster of the primary.
    pub fn primary(&self) -> Url {
        self.primary.clone()
    }

    /// The URL on the standby of a database of the primary.
    pub fn on_standby(&self, url: &str) -> String {
        let mut url = Url::parse(url).expect("a URL");
        url.set_port(self.standby.port()).expect("a URL with a host");
        url.into()
    }

    /// Waits until the standby has all that was committed, and then stops its replay.
    pub async fn pause_replay(&self) {
        execute(&self.primary, "create table replayed ()").await;
        let replayed = "select to_regclass('replayed') is not null";
        wait_for("the replay", async || query(&self.standby, replayed).await.then_some(())).await;
        execute(&self.standby, "select pg_wal_replay_pause()").await;
        let paused = "select pg_get_wal_replay_pause_state() = 'paused'";
        wait_for("the pause", async || query(&self.standby, paused).await.then_some(())).await;
    }

    /// Waits until no connection of the product leads to the standby.
    pub async fn wait_for_no_session_on_standby(&self) {
        let none = "select not exists (select from pg_stat_activity where application_name = 'rejoinder')";
        wait_for("no session on the standby", async || query(&self.standby, none).await.then_some(())).await;
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        run("stop", &self.folder);
    }
}

fn run(command: &str, folder: &TempDir) -> Output {
    Command::new(SCRIPT).arg(command).arg(folder.path()).output().expect("the script starts")
}

async fn execute(url: &Url, statement: &'static str) {
    let mut conn = PgConnection::connect(url.as_str()).await.expect("a connection");
    sqlx::raw_sql(statement).execute(&mut conn).await.expect(statement);
    conn.close().await.expect("the connection closes");
}

async fn query(url: &Url, statement: &'static str) -> bool {
    let mut conn = PgConnection::connect(url.as_str()).await.expect("a connection");
    let answer = sqlx::query_scalar(statement).fetch_one(&mut conn).await.expect(statement);
    conn.close().await.expect("the connection closes");
    answer
}
