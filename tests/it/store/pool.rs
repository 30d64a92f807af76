//! Connections that are broken off: by a caller that does not wait, and in a transaction; and the shares of tenants.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::ids::WorkspaceId;
use rejoinder::store::{Conn, Db, StoreError, Tenant};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::db::both_backends;
use crate::support::proxy::{LinkState, Proxy};
use crate::support::store;
use crate::support::wait::wait_for;

/// Less than the time for which a caller waits for a connection.
const PROMPT: Duration = Duration::from_secs(2);

fn tenant(number: u128) -> Tenant {
    WorkspaceId(Uuid::from_u128(number)).into()
}

/// Work that keeps its connection.
async fn keep(busy: &AtomicUsize) -> Result<(), StoreError> {
    busy.fetch_add(1, Ordering::Relaxed);
    pending().await
}

async fn wait_until_busy(busy: &AtomicUsize, count: usize) {
    wait_for("busy connections", async || (busy.load(Ordering::Relaxed) == count).then_some(())).await;
}

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
    let read = async |statement| store.read(Tenant::Process, async |conn| run(conn, statement).await).await;

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

        let update = "update schema_floor set oldest_binary = oldest_binary";
        store.write(Tenant::Process, async |conn| run(conn, update).await).await.unwrap();

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

both_backends!(
    async fn reads_of_one_tenant_leave_connections_to_others(db: TestDb) {
        let store = store::open(&db).await;
        let max = usize::try_from(store.pool_usage()[1].max).unwrap();
        let (_, share) = store.largest_reader();
        assert_eq!(share, max / 4 * 3);
        let busy = AtomicUsize::new(0);

        let others = async {
            wait_until_busy(&busy, share).await;
            assert_eq!(store.largest_reader(), (share, share));
            for other in [tenant(2), Tenant::Unknown, Tenant::Process] {
                let read = store.read(other, async |conn| run(conn, "select 1").await);
                timeout(PROMPT, read).await.unwrap().unwrap();
                let snapshot = store.snapshot(other, async |conn| run(conn, "select 1").await);
                timeout(PROMPT, snapshot).await.unwrap().unwrap();
            }
        };
        let greedy = (0..50).map(|_| store.read(tenant(1), async |_: Conn<'_>| keep(&busy).await));
        tokio::select! {
            _ = join_all(greedy) => unreachable!("they take 4 s"),
            () = others => {}
        }
    }
);

both_backends!(
    async fn a_permit_is_free_again_when_its_read_was_given_up(db: TestDb) {
        let store = store::open(&db).await;
        let busy = AtomicUsize::new(0);
        for _ in 0..3 {
            let reads = (0..50).map(|_| store.read(tenant(1), async |_: Conn<'_>| keep(&busy).await));
            let given_up = timeout(Duration::from_millis(50), join_all(reads)).await;
            assert!(given_up.is_err());
        }

        let read = store.read(tenant(1), async |conn| run(conn, "select 1").await);
        timeout(PROMPT, read).await.unwrap().unwrap();
    }
);

/// One connection for the writer, and two for other writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writes_leave_connections_to_other_tenants_and_to_the_writer() {
    let db = store::postgres().await;
    let store = Db::postgres(&db.url(), 3, 1).await.unwrap();
    let busy = AtomicUsize::new(0);
    let write = async |tenant: Tenant| store.write(tenant, async |_: Conn<'_>| keep(&busy).await).await;

    let greedy = async { join_all((0..20).map(|_| write(tenant(1)))).await };
    let second = async {
        wait_until_busy(&busy, 1).await;
        let other = store.write(tenant(2), async |conn| run(conn, "select 1").await);
        timeout(PROMPT, other).await.unwrap().unwrap();
        write(tenant(3)).await
    };
    let writer = async {
        wait_until_busy(&busy, 2).await;
        let batch = async { store.begin().await?.commit().await };
        timeout(PROMPT, batch).await.unwrap().unwrap();
    };
    tokio::select! {
        _ = greedy => unreachable!("they take 8 s"),
        _ = second => unreachable!("it takes 8 s"),
        () = writer => {}
    }
}

/// SQLite has one connection for writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_does_not_wait_for_the_queue_of_other_writes() {
    let db = store::sqlite().await;
    let store = store::open(&db).await;
    let written = AtomicUsize::new(0);

    let greedy = join_all((0..100).map(|_| async {
        store.write(tenant(1), async |conn| run(conn, "select 1").await).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }));
    let writer = async {
        let tx = store.begin().await.unwrap();
        let before = written.load(Ordering::Relaxed);
        tx.commit().await.unwrap();
        before
    };
    let (_, before) = tokio::join!(greedy, writer);

    assert!(before < 10, "{before} writes came before");
}

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
        store.read(tenant(1), read).await
    };

    // The driver's name of the first statement of a connection.
    let error = prepare_after("prepare sqlx_s_1 as select 2").await.unwrap_err();

    assert!(error.is_transient() && error.to_string().contains("max_prepared_statements"), "{error}");
}

/// As behind a proxy with no server up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_without_a_connection_names_the_cause() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let store = Db::postgres(proxy.url(), 1, 1).await.unwrap();
    proxy.set(LinkState::Down);

    let read = store.read(tenant(1), async |conn| run(conn, "select 1").await);
    let (read, batch) = tokio::join!(read, store.begin());

    for error in [read.unwrap_err(), batch.unwrap_err()] {
        let text = error.to_string();
        assert!(error.is_transient() && text.contains("a proxy that has no server up"), "{text}");
    }
}
