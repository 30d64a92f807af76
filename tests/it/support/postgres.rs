//! A PostgreSQL database for one test, in the cluster that `scripts/postgres` has started.

use std::process::Command;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use url::Url;
use uuid::Uuid;

use super::cleanup::run_apart;
use super::db::Template;

const VARIABLE: &str = "TEST_POSTGRES_URL";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");

/// The advisory lock of the creation of a template; an arbitrary number.
const TEMPLATE_LOCK: i64 = 0x7265_6a6f_696e;

/// A database that is dropped with this value, even if clients are still connected.
pub struct Database {
    cluster: Url,
    name: String,
}

impl Database {
    pub async fn copy_of(template: &Template) -> Self {
        Self::copy_in(cluster(), template).await
    }

    /// A copy in another cluster.
    pub async fn copy_in(cluster: Url, template: &Template) -> Self {
        let mut maintenance = connect(&cluster).await.expect("the cluster accepts a connection");
        let template_name = ensure_template(template, &cluster, &mut maintenance).await;
        let name = format!("t_{}", Uuid::new_v4().simple());
        execute(&mut maintenance, format!("create database {name} template {template_name}")).await;
        maintenance.close().await.expect("the connection closes");
        Self { cluster, name }
    }

    pub async fn copy(&self) -> Self {
        let mut maintenance = connect(&self.cluster).await.expect("the cluster accepts a connection");
        let name = format!("t_{}", Uuid::new_v4().simple());
        end_backends(&mut maintenance, &self.name).await;
        execute(&mut maintenance, format!("create database {name} template {}", self.name)).await;
        maintenance.close().await.expect("the connection closes");
        Self { cluster: self.cluster.clone(), name }
    }

    pub fn url(&self) -> String {
        url_of(&self.cluster, &self.name)
    }

    /// What `pg_dump` writes of this database: its schema and every row.
    pub fn dump(&self) -> Vec<u8> {
        let found = Command::new(SCRIPT).arg("bindir").output().expect("the script starts");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let program = format!("{}/pg_dump", String::from_utf8_lossy(&found.stdout).trim());
        let dumped = Command::new(&program).arg("--dbname").arg(self.url()).output();
        let dumped = dumped.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
        assert!(dumped.status.success(), "{program}: {}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let cluster = self.cluster.clone();
        let statement = format!("drop database if exists {} with (force)", self.name);
        run_apart(async move || {
            if let Ok(mut maintenance) = connect(&cluster).await {
                let _ = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut maintenance).await;
            }
        });
    }
}

fn cluster() -> Url {
    let Ok(url) = std::env::var(VARIABLE) else {
        panic!(
            "{VARIABLE} is not set: this test needs PostgreSQL. Run `scripts/test`, which starts one for the whole run, or \
             `scripts/postgres run cargo nextest run …` for some tests."
        );
    };
    Url::parse(&url).unwrap_or_else(|fault| panic!("{VARIABLE} is no URL: {fault}"))
}

fn url_of(cluster: &Url, database: &str) -> String {
    let mut url = cluster.clone();
    url.set_path(database);
    url.into()
}

async fn connect(cluster: &Url) -> sqlx::Result<PgConnection> {
    PgConnection::connect(cluster.as_str()).await
}

/// Returns the name of the template. The first process creates it under another name while the others wait for the lock, so that
/// no process sees half of it.
async fn ensure_template(template: &Template, cluster: &Url, maintenance: &mut PgConnection) -> String {
    let name = format!("t_{}", template.versioned_name());
    let unfinished = format!("{name}_unfinished");
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *maintenance)
        .await
        .expect("the lock");
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut *maintenance)
        .await
        .expect("the list of databases");
    if !exists {
        execute(maintenance, format!("drop database if exists {unfinished} with (force)")).await;
        execute(maintenance, format!("create database {unfinished}")).await;
        (template.migrate)(url_of(cluster, &unfinished)).await.expect("the template is migrated");
        end_backends(maintenance, &unfinished).await;
        execute(maintenance, format!("alter database {unfinished} rename to {name}")).await;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(maintenance)
        .await
        .expect("the lock is free");
    name
}

/// The backends of a closed pool take a moment to end, and a database in use can be neither renamed nor copied.
async fn end_backends(maintenance: &mut PgConnection, database: &str) {
    sqlx::query("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1")
        .bind(database)
        .execute(maintenance)
        .await
        .expect("the database has no user");
}

async fn execute(maintenance: &mut PgConnection, statement: String) {
    let outcome = sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(maintenance).await;
    outcome.unwrap_or_else(|fault| panic!("{statement}: {fault}"));
}
