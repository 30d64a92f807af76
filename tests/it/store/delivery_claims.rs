//! Ownership of deliveries: claims, fences and takeovers.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::clock::Clock;
use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::delivery::{
    Attempt, AttemptOutcome, ClaimedDelivery, DeliveryKey, DeliveryOutcome, Disposition, OutcomeWrite,
};
use rejoinder::domain::ids::{EndpointId, ProcessId};
use rejoinder::store::deliveries;
use rejoinder::store::deliveries::attempts;
use rejoinder::store::deliveries::claims::ClaimRequest;
use rejoinder::store::ownership;
use rejoinder::store::{Conn, Tenant};
use uuid::Uuid;

use crate::support::db::{Backend, both_backends};
use crate::support::seed::{self, Seed};
use crate::support::writer_process::Process;

/// Creates conversations, each with one event.
async fn events(process: &Process, seeded: &Seed, count: usize) {
    join_all((0..count).map(|_| process.conversation(seeded, ConversationKind::Api))).await;
}

async fn due(process: &Process) -> Vec<EndpointId> {
    let due = async |conn: Conn<'_>| deliveries::claims::list_due(conn, process.clock.as_ref()).await;
    process.db.read(Tenant::Process, due).await.unwrap().0.into_iter().map(|due| due.endpoint).collect()
}

async fn claim(process: &Process, owner: ProcessId, seeded: &Seed, count: usize) -> Vec<ClaimedDelivery> {
    let Some(endpoint) = due(process).await.pop() else { return Vec::new() };
    let requests = [ClaimRequest { workspace: seeded.workspace, endpoint, count }];
    let clock = process.clock.as_ref();
    let claim = async |conn: Conn<'_>| deliveries::claims::claim(conn, owner, &requests, clock).await;
    process.db.write(Tenant::Process, claim).await.unwrap()
}

async fn record(process: &Process, owner: ProcessId, claimed: &[ClaimedDelivery], outcome: &DeliveryOutcome) {
    let ended = |claimed: &ClaimedDelivery| OutcomeWrite {
        key: claimed.key,
        fence: claimed.fence,
        outcome: outcome.clone(),
    };
    let ended: Vec<OutcomeWrite> = claimed.iter().map(ended).collect();
    let clock = process.clock.as_ref();
    let record = async |conn: Conn<'_>| attempts::record(conn, owner, &ended, clock).await;
    process.db.write(Tenant::Process, record).await.unwrap();
}

fn attempted(process: &Process, outcome: AttemptOutcome, disposition: Disposition) -> DeliveryOutcome {
    let now = process.clock.now();
    let attempt = Attempt { started_at: now, finished_at: now, outcome, status: None, excerpt: None };
    DeliveryOutcome::Attempted(attempt, disposition)
}

both_backends!(
    async fn a_delivery_is_claimed_once(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        events(&process, &seeded, 40).await;

        let claimed = join_all((0..8).map(|_| async {
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&process, process.id, &seeded, 3).await;
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|claimed| claimed.key));
            }
        }))
        .await;

        let mut claimed: Vec<_> = claimed.into_iter().flatten().collect();
        while let again @ [_, ..] = claim(&process, process.id, &seeded, 3).await.as_slice() {
            claimed.extend(again.iter().map(|claimed| claimed.key));
        }
        assert_eq!(claimed.len(), 40);
        assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 40);
    }
);

both_backends!(
    async fn a_fenced_off_owner_records_nothing(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        events(&process, &seeded, 2).await;
        let dead = ProcessId(Uuid::new_v4());
        let lost = claim(&process, dead, &seeded, 9).await;
        assert_eq!(lost.len(), 2);

        let clock = process.clock.as_ref();
        let take = async |conn: Conn<'_>| {
            ownership::take_over::<DeliveryKey>(conn, process.id, None, 9, clock).await
        };
        assert_eq!(process.db.write(Tenant::Process, take).await.unwrap(), 2);
        let again = claim(&process, process.id, &seeded, 9).await;
        let delivered = attempted(&process, AttemptOutcome::Delivered, Disposition::Delivered);
        record(&process, dead, &lost, &delivered).await;
        record(&process, process.id, &lost, &delivered).await;

        assert_eq!(seed::query_number(&db, "select count(*) from attempts").await, 0);
        assert_eq!(
            seed::query_number(&db, "select count(*) from deliveries where state = 'running' and fence = 3")
                .await,
            2
        );
        record(&process, process.id, &again, &delivered).await;
        record(&process, process.id, &again, &delivered).await;
        assert_eq!(seed::query_number(&db, "select count(*) from attempts where number = 1").await, 2);
        assert_eq!(
            seed::query_number(
                &db,
                "select count(*) from deliveries where state = 'delivered' and owner is null"
            )
            .await,
            2
        );
    }
);

both_backends!(
    async fn a_failure_is_retried_later_and_marks_the_endpoint_until_a_success(db: TestDb) {
        const FAILING: &str = "select count(*) from webhook_endpoints where failing_since is not null";
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        events(&process, &seeded, 2).await;
        let claimed = claim(&process, process.id, &seeded, 9).await;
        let pause = Disposition::Retry(Duration::from_secs(5));
        let failed = attempted(&process, AttemptOutcome::TimedOut, pause);

        record(&process, process.id, &claimed[..1], &failed).await;

        assert_eq!(seed::query_number(&db, FAILING).await, 1);
        assert!(claim(&process, process.id, &seeded, 9).await.is_empty());
        process.advance_clock(&db, Duration::from_secs(5)).await;
        let again = claim(&process, process.id, &seeded, 9).await;
        assert_eq!((again.len(), again[0].key, again[0].attempts), (1, claimed[0].key, 1));
        let delivered = attempted(&process, AttemptOutcome::Delivered, Disposition::Delivered);
        record(&process, process.id, &claimed[1..], &delivered).await;
        assert_eq!(seed::query_number(&db, FAILING).await, 0);
    }
);

both_backends!(
    async fn a_handed_back_delivery_counts_no_attempt_and_a_closed_one_is_never_claimed(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        events(&process, &seeded, 2).await;
        let claimed = claim(&process, process.id, &seeded, 9).await;

        record(&process, process.id, &claimed[..1], &DeliveryOutcome::HandedBack).await;
        record(&process, process.id, &claimed[1..], &DeliveryOutcome::Closed).await;

        let again = claim(&process, process.id, &seeded, 9).await;
        assert_eq!((again.len(), again[0].key, again[0].attempts), (1, claimed[0].key, 0));
        let closed = "select count(*) from deliveries where state = 'closed' and ended_at is not null";
        assert_eq!(seed::query_number(&db, closed).await, 1);
    }
);

both_backends!(
    async fn an_endpoint_that_takes_no_events_has_nothing_due(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        events(&process, &seeded, 1).await;
        assert_eq!(due(&process).await.len(), 1);

        let no = if db.backend() == Backend::Postgres { "false" } else { "0" };
        seed::configure(&db, &format!("update webhook_endpoints set enabled = {no}")).await;

        assert!(due(&process).await.is_empty());
    }
);
