//! Connections that are broken off: by a caller that does not wait, and in a transaction.

use std::time::Duration;

use rejoinder::store::{Conn, Db, StoreError};
use tokio::time::timeout;

use crate::support::db::both_backends;
use crate::support::store;

async fn run(mut conn: Conn<'_>, statement: &'static str) -> Result<(), StoreError> {
    match conn.reborrow() {
        Conn::Postgres(conn) => sqlx::raw_sql(statement).execute(conn).await.map(drop)?,
        Conn::Sqlite(conn) => sqlx::raw_sql(statement).execute(conn).await.map(drop)?,
    }
    Ok(())
}

/// The only connection of a pool runs the statement when its caller gives up; the next read gets one that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_was_given_up_costs_the_next_one_little() {
    let db = store::postgres().await;
    let store = Db::postgres(&db.url(), 1, 1).await.unwrap();
    let read = async |statement| store.read(async |conn| run(conn, statement).await).await;

    let given_up = timeout(Duration::from_millis(100), read("select pg_sleep(60)")).await;
    let next = read("select 1").await;
    let brief = timeout(Duration::from_millis(1), read("select pg_sleep(0.1)")).await;
    let after = read("select 1").await;

    assert!(given_up.is_err() && brief.is_err());
    next.unwrap();
    after.unwrap();
}

both_backends!(
    async fn a_transaction_that_is_dropped_is_rolled_back_before_the_next_one(db: TestDb) {
        let store = store::open(&db).await;
        let mut tx = store.begin().await.unwrap();
        run(tx.conn(), "update schema_floor set oldest_binary = 1000").await.unwrap();
        drop(tx);

        store
            .write(async |conn| run(conn, "update schema_floor set oldest_binary = oldest_binary").await)
            .await
            .unwrap();

        store.check_schema().await.unwrap();
    }
);

both_backends!(
    async fn a_pool_is_usable_after_its_idle_connections_were_closed_and_not_after_all_were(db: TestDb) {
        let store = store::open(&db).await;
        store.close_idle();
        store.check_schema().await.unwrap();
        let tx = store.begin().await.unwrap();

        store.close().await;
        tx.commit().await.unwrap();

        assert!(store.check_schema().await.unwrap_err().is_transient());
    }
);

/// As behind a pooler that sends statements to sessions which others have used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_mixes_up_prepared_statements_is_named() {
    let db = store::postgres().await;
    let store = Db::postgres(&db.url(), 1, 1).await.unwrap();
    let prepare_after = async |statement: &'static str| {
        let read = async |mut conn: Conn<'_>| {
            run(conn.reborrow(), statement).await?;
            let Conn::Postgres(conn) = conn else { panic!("a PostgreSQL") };
            Ok(sqlx::query("select 1").execute(conn).await.map(drop)?)
        };
        store.read(read).await
    };

    // The driver's name of the first statement of a connection.
    let error = prepare_after("prepare sqlx_s_1 as select 2").await.unwrap_err();

    assert!(error.is_transient() && error.to_string().contains("max_prepared_statements"), "{error}");
}
