//! Readiness while clients use every connection to the database that they can get.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rejoinder::lifecycle::lease::lease_channel;
use rejoinder::service::readiness::ReadinessCheck;
use rejoinder::store::Db;

use super::readers::{READERS, occupy, tenant};
use crate::support::db::both_backends;
use crate::support::proxy::Proxy;
use crate::support::server::TestServer;
use crate::support::store;
use crate::support::wait::wait_for;

/// The time in which a probe must be answered; the check itself gives up after 2 s.
const PROMPT: Duration = Duration::from_secs(1);

both_backends!(
    async fn readers_that_use_all_connections_do_not_make_the_server_unready(db: TestDb) {
        let server = TestServer::start(&db).await;
        let max = usize::try_from(server.db().pool_usage()[1].max).unwrap();
        let reading = AtomicUsize::new(0);

        let probe = async {
            wait_for("all connections to be in use", async || {
                (reading.load(Ordering::Relaxed) >= max).then_some(())
            })
            .await;
            for _ in 0..10 {
                let asked = Instant::now();
                let ready = server.request("GET", "/readyz").send().await;
                assert_eq!(ready.status, 200, "{}", ready.text());
                assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
            }
            assert_eq!(server.db().pool_usage()[1].idle, 0, "the readers still have all connections");
        };
        // Each of a workspace of its own.
        let readers = (0..READERS).map(|number| occupy(server.db(), tenant(number), &reading));
        tokio::select! {
            _ = join_all(readers) => unreachable!("they never end"),
            () = probe => {}
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_probes_at_once_are_one_check() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let checked = Db::postgres(proxy.url(), 1, 1).await.unwrap();
    checked.check_schema().await.unwrap();
    let before = proxy.round_trips();
    checked.check_schema().await.unwrap();
    let of_one_check = proxy.round_trips() - before;
    let readiness = ReadinessCheck::new(lease_channel().1);

    let before = proxy.round_trips();
    let results = join_all((0..200).map(|_| readiness.run(&checked))).await;

    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(proxy.round_trips() - before, of_one_check);
}
