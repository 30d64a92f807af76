//! The epoch of the store.

use rejoinder::domain::clock::Micros;
use rejoinder::domain::ids::WorkspaceId;
use rejoinder::store::{Conn, Tenant, epoch};
use uuid::Uuid;

use crate::support::db::both_backends;
use crate::support::{seed, store};

both_backends!(
    async fn all_counters_are_raised_also_if_the_clock_was_turned_back(db: TestDb) {
        let opened = store::open(&db).await;
        for _ in 0..5 {
            seed::workspace(&db, 0).await;
        }

        for (now, expected) in [(1_000, 1_000), (10, 1_001)] {
            let begin = async |conn: Conn<'_>| epoch::begin(conn, Micros(now)).await;
            assert_eq!(opened.write(Tenant::Process, begin).await.unwrap(), expected);
            let (mut last, mut batches) = (WorkspaceId(Uuid::nil()), 0);
            loop {
                let raise = async |conn: Conn<'_>| epoch::raise_counters(conn, expected, last, 2).await;
                let Some(raised) = opened.write(Tenant::Process, raise).await.unwrap() else { break };
                (last, batches) = (raised, batches + 1);
            }

            assert_eq!(batches, 3);
            for counter in ["next_cursor", "next_ledger_number"] {
                let raised = format!("select count(*) from workspace_state where {counter} = {expected}");
                assert_eq!(seed::query_number(&db, &raised).await, 5);
            }
        }
    }
);
