//! Decisions on webhook endpoints, and their removal.

use std::sync::Arc;
use std::time::Duration;

use rejoinder::domain::audit::Actor;
use rejoinder::domain::clock::{Micros, SystemClock};
use rejoinder::domain::error::Error;
use rejoinder::domain::event::EventType;
use rejoinder::domain::ids::{DeliveryId, EndpointId, IdGenerator, WorkspaceId};
use rejoinder::domain::seal::SealedSecret;
use rejoinder::domain::webhook_endpoint::{
    DisabledReason, Endpoint, EndpointPatch, NewEndpoint, PreviousSecret,
};
use rejoinder::store::{Conn, Db, ReadLimit, Tenant, resource, webhook_endpoints};
use rejoinder::writer::batch::{Batch, LoadPlan};
use rejoinder::writer::{
    Decision, DisableEndpoint, EndpointAction, TestEndpoint, WriteEndpoint, decide_inline,
};
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

const NEW: EndpointId = EndpointId(Uuid::from_u128(7));

fn create(url: &str) -> EndpointAction {
    EndpointAction::Create(NewEndpoint {
        slug: None,
        description: Some("CRM".to_owned()),
        url: url.to_owned(),
        types: vec![EventType::MessageCreated, EventType::ReplyFailed],
        secret: SealedSecret::from_stored("sealed".to_owned()),
        disabled: None,
    })
}

fn sealed(text: &str) -> SealedSecret {
    SealedSecret::from_stored(text.to_owned())
}

/// A rotation to this secret, with an overlap of so many seconds.
fn rotate(secret: &str, seconds: u64) -> EndpointAction {
    let secret = Some((sealed(secret), Duration::from_secs(seconds)));
    EndpointAction::Update(EndpointPatch { secret, ..EndpointPatch::default() })
}

fn move_to(url: &str) -> EndpointAction {
    let url = Some(url.to_owned());
    EndpointAction::Update(EndpointPatch { url, ..EndpointPatch::default() })
}

async fn decide<C: Decision>(store: &Db, command: &C) -> Result<C::Reply, Error> {
    let ids = IdGenerator::random();
    let decide = async |conn: Conn<'_>| decide_inline(conn, &SystemClock, &ids, command).await;
    store.write(Tenant::Process, decide).await.unwrap()
}

async fn write(
    store: &Db,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    action: EndpointAction,
) -> Result<Endpoint, Error> {
    decide(store, &WriteEndpoint { workspace, endpoint, action, actor: Arc::new(Actor::server()) }).await
}

async fn disable(
    store: &Db,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    url: &str,
    reason: DisabledReason,
) {
    decide(store, &DisableEndpoint { workspace, endpoint, url: url.to_owned(), reason }).await.unwrap();
}

async fn send_test(store: &Db, workspace: WorkspaceId, endpoint: EndpointId) -> Result<DeliveryId, Error> {
    decide(store, &TestEndpoint { workspace, endpoint }).await
}

async fn find(store: &Db, workspace: WorkspaceId, endpoint: EndpointId) -> Option<Endpoint> {
    let mut read = store.acquire_read().await.unwrap();
    webhook_endpoints::find_many(read.conn(), &[(workspace, endpoint)]).await.unwrap().pop()
}

/// The endpoint that a seeded workspace has.
async fn seeded_endpoint(store: &Db, workspace: WorkspaceId) -> Endpoint {
    let mut read = store.acquire_read().await.unwrap();
    let limit = ReadLimit { rows: 10, bytes: i64::MAX };
    resource::list::<Endpoint>(read.conn(), workspace, None, limit).await.unwrap().rows.remove(0)
}

async fn disabled_events(db: &TestDb) -> i64 {
    seed::query_number(db, "select count(*) from events where type = 'webhook_endpoint.disabled'").await
}

both_backends!(
    async fn repeating_a_creation_creates_one_endpoint(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;

        let first = write(&store, workspace, NEW, create("https://a.example/")).await.unwrap();
        let again = write(&store, workspace, NEW, create("https://a.example/")).await.unwrap();

        assert_eq!(first, again);
        assert_eq!(find(&store, workspace, NEW).await.unwrap(), first);
    }
);

both_backends!(
    async fn an_endpoint_of_another_workspace_is_not_found(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let other = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        write(&store, workspace, NEW, create("https://a.example/")).await.unwrap();

        let tested = send_test(&store, other, NEW).await;
        let archived = write(&store, other, NEW, EndpointAction::Archive { by_file: false }).await;

        assert!(matches!(tested, Err(Error::NotFound { .. })), "{tested:?}");
        assert!(matches!(archived, Err(Error::NotFound { .. })), "{archived:?}");
        assert!(find(&store, workspace, NEW).await.unwrap().is_active());
    }
);

both_backends!(
    async fn an_endpoint_is_disabled_only_after_five_days_of_failure(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let Endpoint { id: endpoint, url, .. } = seeded_endpoint(&store, workspace).await;
        let disable_failing =
            async || disable(&store, workspace, endpoint, &url, DisabledReason::Failing).await;
        let since = async |ago: Duration| {
            let now = if store.is_shared() { "store_now()" } else { "unixepoch() * 1000000" };
            let micros = ago.as_micros();
            seed::execute(&db, &format!("update webhook_endpoints set failing_since = {now} - {micros}"))
                .await;
        };

        disable_failing().await;
        since(Duration::from_hours(5 * 24 - 1)).await;
        disable_failing().await;
        disable(&store, workspace, endpoint, "https://old.example/", DisabledReason::Gone).await;
        assert!(seeded_endpoint(&store, workspace).await.enabled, "its URL answers well");
        write(&store, workspace, endpoint, move_to(&(url.clone() + "new"))).await.unwrap();
        assert_eq!(seeded_endpoint(&store, workspace).await.failing_since, None, "a new URL has no failures");
        write(&store, workspace, endpoint, move_to(&url)).await.unwrap();
        since(Duration::from_hours(5 * 24 + 1)).await;
        disable_failing().await;
        disable_failing().await;

        let disabled = seeded_endpoint(&store, workspace).await;
        assert_eq!((disabled.enabled, disabled.disabled_reason), (false, Some(DisabledReason::Failing)));
        assert_eq!(disabled_events(&db).await, 1);
    }
);

both_backends!(
    async fn outcomes_of_an_old_url_do_not_count_for_the_new_one(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        write(&store, workspace, NEW, create("https://a.example/")).await.unwrap();
        let six_days_ago = if store.is_shared() { "store_now()" } else { "unixepoch() * 1000000" };
        let six_days_ago = format!("{six_days_ago} - {}", Duration::from_hours(6 * 24).as_micros());
        seed::execute(&db, &format!("update webhook_endpoints set failing_since = {six_days_ago}")).await;

        write(&store, workspace, NEW, move_to("https://a.example/")).await.unwrap();
        assert!(find(&store, workspace, NEW).await.unwrap().failing_since.is_some(), "the URL is the same");
        write(&store, workspace, NEW, move_to("https://b.example/")).await.unwrap();
        for url in ["https://a.example/", "https://b.example/"] {
            disable(&store, workspace, NEW, url, DisabledReason::Failing).await;
        }
        disable(&store, workspace, NEW, "https://a.example/", DisabledReason::Gone).await;

        let endpoint = find(&store, workspace, NEW).await.unwrap();
        assert_eq!((endpoint.enabled, endpoint.failing_since), (true, None));
        disable(&store, workspace, NEW, "https://b.example/", DisabledReason::Gone).await;
        assert!(!find(&store, workspace, NEW).await.unwrap().enabled);
    }
);

both_backends!(
    async fn the_previous_secret_signs_through_the_overlap(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        write(&store, workspace, NEW, create("https://a.example/")).await.unwrap();
        let secrets_after = async |action: EndpointAction| {
            write(&store, workspace, NEW, action).await.unwrap();
            let endpoint = find(&store, workspace, NEW).await.unwrap();
            endpoint.stored_secrets().map(|secret| secret.as_str().to_owned()).collect::<Vec<_>>()
        };

        assert_eq!(secrets_after(rotate("b", 60)).await, ["b", "sealed"]);
        assert_eq!(secrets_after(rotate("b", 60)).await, ["b", "sealed"], "the same secret again");
        assert_eq!(secrets_after(rotate("c", 60)).await, ["c", "sealed"], "the response with b was lost");
        assert_eq!(secrets_after(rotate("sealed", 60)).await, ["sealed", "c"], "back");
        assert_eq!(secrets_after(rotate("d", 0)).await, ["d"]);
        assert_eq!(secrets_after(rotate("e", 60)).await, ["e", "d"]);
        assert_eq!(secrets_after(rotate("e", 0)).await, ["e"], "the overlap ends at once");
        secrets_after(rotate("f", 60)).await;
        seed::execute(&db, "update webhook_endpoints set previous_secret_until = 1").await;
        assert_eq!(secrets_after(move_to("https://b.example/")).await, ["f"], "an expired secret is removed");
    }
);

/// Creates an endpoint, sends it a test and disables it, in one batch.
struct CreateTestDisable {
    create: WriteEndpoint,
    test: TestEndpoint,
    disable: DisableEndpoint,
}

impl Decision for CreateTestDisable {
    type Reply = ();

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        self.create.plan(plan, now);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        self.create.decide(batch)?;
        self.test.decide(batch)?;
        self.disable.decide(batch)
    }
}

both_backends!(
    async fn endpoints_changed_in_a_batch_apply_to_its_later_events(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let url = "https://a.example/";

        let command = CreateTestDisable {
            create: WriteEndpoint {
                workspace,
                endpoint: NEW,
                action: create(url),
                actor: Arc::new(Actor::server()),
            },
            test: TestEndpoint { workspace, endpoint: NEW },
            disable: DisableEndpoint {
                workspace,
                endpoint: NEW,
                reason: DisabledReason::Gone,
                url: url.to_owned(),
            },
        };
        decide(&store, &command).await.unwrap();

        let of_new =
            format!("select count(*) from deliveries where endpoint_id = {}", seed::literal(&db, NEW.0));
        assert_eq!(seed::query_number(&db, &of_new).await, 1, "its test");
        assert_eq!(
            seed::query_number(&db, "select count(*) from deliveries").await,
            2,
            "the other endpoint is notified that this one was disabled"
        );
        assert_eq!(find(&store, workspace, NEW).await.unwrap().disabled_reason, Some(DisabledReason::Gone));
    }
);

both_backends!(
    async fn an_archived_endpoint_is_closed_and_only_a_deleted_one_removed(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let of_file = seeded_endpoint(&store, workspace).await.id;
        write(&store, workspace, NEW, create("https://a.example/")).await.unwrap();
        for endpoint in [NEW, of_file] {
            for _ in 0..3 {
                send_test(&store, workspace, endpoint).await.unwrap();
            }
        }
        seed::execute(
            &db,
            "insert into attempts (workspace_id, endpoint_id, cursor, number, started_at, finished_at, outcome) \
             select workspace_id, endpoint_id, cursor, 1, 0, 0, 'refused' from deliveries",
        )
        .await;

        write(&store, workspace, NEW, EndpointAction::Archive { by_file: false }).await.unwrap();
        write(&store, workspace, of_file, EndpointAction::Archive { by_file: true }).await.unwrap();
        let mut closed = Vec::new();
        let mut removed = Vec::new();
        for archived in store.read(Tenant::Process, webhook_endpoints::archived::list).await.unwrap() {
            for _ in 0..3 {
                let close = async |conn: Conn<'_>| {
                    webhook_endpoints::archived::close_deliveries(conn, archived, 2, &SystemClock).await
                };
                closed.push(store.write(Tenant::Process, close).await.unwrap());
            }
            for _ in 0..if archived.from_file { 0 } else { 3 } {
                let remove =
                    async |conn: Conn<'_>| webhook_endpoints::archived::remove(conn, archived, 2).await;
                removed.push(store.write(Tenant::Process, remove).await.unwrap());
            }
        }

        assert_eq!((closed, removed), (vec![2, 1, 0, 2, 1, 0], vec![2, 1, 0]));
        assert!(find(&store, workspace, NEW).await.is_none());
        assert!(find(&store, workspace, of_file).await.is_some());
        let closed_rows = "select count(*) from deliveries where state = 'closed' and ended_at is not null";
        assert_eq!(seed::query_number(&db, closed_rows).await, 3);
        assert_eq!(seed::query_number(&db, "select count(*) from attempts").await, 3);
    }
);

#[test]
fn an_old_secret_signs_until_its_time() {
    let now = rejoinder::domain::clock::Micros(100);
    let mut endpoint = Endpoint {
        workspace: WorkspaceId(Uuid::nil()),
        id: NEW,
        slug: None,
        description: None,
        url: String::new(),
        types: Vec::new(),
        secret: sealed("new"),
        previous: None,
        enabled: true,
        disabled_reason: None,
        failing_since: None,
        from_file: false,
        archived_at: None,
        created_at: now,
        updated_at: now,
    };
    assert_eq!(endpoint.secrets(now), [&sealed("new")]);
    endpoint.previous =
        Some(PreviousSecret { secret: sealed("old"), until: now.plus(Duration::from_micros(1)) });
    assert_eq!(endpoint.secrets(now), [&sealed("new"), &sealed("old")]);
    assert_eq!(endpoint.secrets(now.plus(Duration::from_micros(1))), [&sealed("new")]);
}

both_backends!(
    async fn a_restored_endpoint_survives_a_concurrent_sweep(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let endpoint = seeded_endpoint(&store, workspace).await.id;
        write(&store, workspace, endpoint, EndpointAction::Archive { by_file: true }).await.unwrap();
        let archived = store.read(Tenant::Process, webhook_endpoints::archived::list).await.unwrap()[0];
        let back = EndpointPatch { restores: true, ..EndpointPatch::default() };
        write(&store, workspace, endpoint, EndpointAction::Update(back)).await.unwrap();
        send_test(&store, workspace, endpoint).await.unwrap();

        let close = async |conn: Conn<'_>| {
            webhook_endpoints::archived::close_deliveries(conn, archived, 9, &SystemClock).await
        };
        assert_eq!(store.write(Tenant::Process, close).await.unwrap(), 0);
        assert_eq!(
            seed::query_number(&db, "select count(*) from deliveries where state = 'queued'").await,
            1
        );
    }
);
