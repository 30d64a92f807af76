//! One workspace whose reads take long: it uses its share of the connections for reads, and those of others are served at once.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rejoinder::domain::ids::WorkspaceId;
use rejoinder::store::workspaces::find_by_slug;
use rejoinder::store::{Conn, Db, StoreError, Tenant};
use uuid::Uuid;

use super::shares::{honest, send};
use crate::support::db::both_backends;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::server::Setup;
use crate::support::wait::wait_for;

/// More readers than connections.
pub(super) const READERS: usize = 150;
/// Less than the time after which a read gives up.
const PROMPT: Duration = Duration::from_secs(2);

/// A workspace that need not exist.
pub(super) fn tenant(number: usize) -> Tenant {
    WorkspaceId(Uuid::from_u128(u128::try_from(number).unwrap())).into()
}

/// Reads that occupy a connection for as long as the server allows, one after the other.
pub(super) async fn occupy(db: &Db, tenant: Tenant, reading: &AtomicUsize) -> Infallible {
    loop {
        let read = async |_: Conn<'_>| {
            reading.fetch_add(1, Ordering::Relaxed);
            pending::<Result<(), StoreError>>().await
        };
        let _ = db.read(tenant, read).await;
    }
}

both_backends!(
    async fn readers_that_use_all_a_workspace_may_delay_no_read_and_no_turn_of_another(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let key = honest(&server).await;
        server.model.script().respond_with(|_: &ModelRequest| Reply::text("Yes."));
        let greedy = server.db().read(Tenant::Process, async |conn| find_by_slug(conn, "demo").await);
        let greedy = Tenant::Workspace(greedy.await.unwrap().unwrap().id);
        let max = usize::try_from(server.db().pool_usage()[1].max).unwrap();
        let (_, share) = server.db().largest_reader();
        assert!(share < max, "{share} of {max}");
        let reading = AtomicUsize::new(0);

        let probe = async {
            wait_for("the share to be in use", async || {
                (reading.load(Ordering::Relaxed) >= share).then_some(())
            })
            .await;
            for _ in 0..10 {
                let asked = Instant::now();
                let read = server.request("GET", "/v1/conversations").bearer(&key).send().await;
                assert_eq!(read.status, 200, "{}", read.text());
                assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
            }
            let asked = Instant::now();
            send(&server, &key, "honest").await;
            let completed = "select count(*) from turns where state = 'completed'";
            wait_for("the reply", async || (server.query_number(completed).await == 1).then_some(())).await;
            assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());

            // Requests of the greedy workspace wait behind its own readers. One may come first when these begin anew.
            let is_refused = async || (server.get("/v1/conversations").await.status == 500).then_some(());
            wait_for("a read of the greedy workspace to be refused", is_refused).await;
        };
        let readers = (0..READERS).map(|_| occupy(server.db(), greedy, &reading));
        tokio::select! {
            _ = join_all(readers) => unreachable!("they never end"),
            () = probe => {}
        }
    }
);
