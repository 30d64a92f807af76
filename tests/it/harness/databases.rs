//! Each test has its own migrated database on both backends, which is removed afterwards.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::support::db::{Backend, Template, TestDb, both_backends};

const TEMPLATE: Template = Template {
    name: "harness",
    migrate: |url| {
        Box::pin(
            async move { run(&url, "create table notes (id bigint primary key, body text not null)").await },
        )
    },
};

/// Runs statements on either backend, and closes the connection.
async fn run(url: &str, statements: &str) -> anyhow::Result<()> {
    let statements = sqlx::raw_sql(AssertSqlSafe(statements));
    if url.starts_with("postgres:") {
        let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
        statements.execute(&mut connection).await?;
        Ok(connection.close().await?)
    } else {
        let mut connection = SqliteConnectOptions::from_str(url)?.connect().await?;
        statements.execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}

both_backends!(TEMPLATE => async fn each_test_has_its_own_migrated_database(db: TestDb) {
    run(&db.url(), "insert into notes (id, body) values (1, 'mine')").await.expect("the template's table exists");

    let other = TestDb::copy_of(&TEMPLATE, db.backend()).await;
    run(&other.url(), "insert into notes (id, body) values (1, 'yours')").await.expect("rows of another test are not visible");
    run(&db.url(), "insert into notes (id, body) values (1, 'again')").await.expect_err("one's own row is");
});

both_backends!(TEMPLATE => async fn dropping_the_guard_removes_the_database(db: TestDb) {
    let url = db.url();

    drop(db);

    run(&url, "select 1").await.expect_err("there is nothing to connect to");
});

both_backends!(TEMPLATE => async fn databases_can_be_created_concurrently(db: TestDb) {
    let copies = futures::future::join_all((0..8).map(|_| TestDb::copy_of(&TEMPLATE, db.backend()))).await;

    let mut urls: Vec<_> = copies.iter().map(TestDb::url).collect();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 8);
    let scheme = if db.backend() == Backend::Postgres { "postgres:" } else { "sqlite:" };
    assert!(urls.iter().all(|url| url.starts_with(scheme)));
});
