//! Webhook endpoints as they are decided, and their removal.

use std::time::Duration;

use rejoinder::domain::clock::SystemClock;
use rejoinder::domain::error::Error;
use rejoinder::domain::event::EventType;
use rejoinder::domain::ids::{EndpointId, IdGenerator, WorkspaceId};
use rejoinder::domain::seal::SealedSecret;
use rejoinder::domain::webhook_endpoint::{
    DisabledReason, Endpoint, EndpointPatch, NewEndpoint, PreviousSecret,
};
use rejoinder::store::{Conn, Db, webhook_endpoints};
use rejoinder::writer::{Command, DisableEndpoint, EndpointAction, EndpointWrite, Outcome, decide_inline};
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

const NEW: EndpointId = EndpointId(Uuid::from_u128(7));

fn make(url: &str) -> EndpointAction {
    EndpointAction::Create(Box::new(NewEndpoint {
        slug: None,
        description: Some("CRM".to_owned()),
        url: url.to_owned(),
        types: vec![EventType::MessageCreated, EventType::ReplyFailed],
        secret: SealedSecret::from_stored("sealed".to_owned()),
        disabled: None,
    }))
}

fn disable(url: &str, reason: DisabledReason) -> EndpointAction {
    EndpointAction::Disable(DisableEndpoint { url: url.to_owned(), reason })
}

fn sealed(text: &str) -> SealedSecret {
    SealedSecret::from_stored(text.to_owned())
}

/// A rotation to this secret, with an overlap of so many seconds.
fn rotate(secret: &str, seconds: u64) -> EndpointAction {
    let secret = Some((sealed(secret), Duration::from_secs(seconds)));
    EndpointAction::Update(Box::new(EndpointPatch { secret, ..EndpointPatch::default() }))
}

fn move_to(url: &str) -> EndpointAction {
    let url = Some(url.to_owned());
    EndpointAction::Update(Box::new(EndpointPatch { url, ..EndpointPatch::default() }))
}

async fn decide(
    store: &Db,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    actions: &[EndpointAction],
) -> Vec<Result<Outcome, Error>> {
    let command = |action: &EndpointAction| {
        Command::Endpoint(Box::new(EndpointWrite { workspace, endpoint, action: action.clone() }))
    };
    let commands: Vec<_> = actions.iter().map(command).collect();
    let ids = IdGenerator::random();
    let decide = async |conn: Conn<'_>| decide_inline(conn, &SystemClock, &ids, &commands).await;
    store.write(decide).await.unwrap()
}

async fn find(store: &Db, workspace: WorkspaceId, endpoint: EndpointId) -> Option<Endpoint> {
    let mut read = store.acquire_read().await.unwrap();
    webhook_endpoints::find_many(read.conn(), &[(workspace, endpoint)]).await.unwrap().pop()
}

/// The endpoint that a seeded workspace has.
async fn seeded_endpoint(store: &Db, workspace: WorkspaceId) -> Endpoint {
    let mut read = store.acquire_read().await.unwrap();
    webhook_endpoints::list(read.conn(), workspace, None, 10).await.unwrap().remove(0)
}

async fn disabled_events(db: &TestDb) -> i64 {
    seed::query_number(db, "select count(*) from events where type = 'webhook_endpoint.disabled'").await
}

both_backends!(
    async fn repeating_a_creation_makes_one_endpoint(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;

        let first = decide(&store, workspace, NEW, &[make("https://a.example/")]).await;
        let again = decide(&store, workspace, NEW, &[make("https://a.example/")]).await;

        let endpoint = |outcomes: &[Result<Outcome, Error>]| match &outcomes[0] {
            Ok(Outcome::Endpoint(endpoint)) => endpoint.as_ref().clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(endpoint(&first), endpoint(&again));
        assert_eq!(find(&store, workspace, NEW).await.unwrap(), endpoint(&first));
    }
);

both_backends!(
    async fn an_endpoint_of_another_workspace_is_not_found(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let other = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        decide(&store, workspace, NEW, &[make("https://a.example/")]).await;

        let actions = [EndpointAction::Test, EndpointAction::Archive { by_file: false }];
        let outcomes = decide(&store, other, NEW, &actions).await;

        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Err(Error::NotFound { .. }))),
            "{outcomes:?}"
        );
        assert!(find(&store, workspace, NEW).await.unwrap().is_active());
    }
);

both_backends!(
    async fn an_endpoint_is_disabled_only_after_five_days_of_failure(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let Endpoint { id: endpoint, url, .. } = seeded_endpoint(&store, workspace).await;
        let failing =
            [EndpointAction::Disable(DisableEndpoint { reason: DisabledReason::Failing, url: url.clone() })];
        let elsewhere =
            DisableEndpoint { reason: DisabledReason::Gone, url: "https://old.example/".to_owned() };
        let since = async |ago: Duration| {
            let now = if store.is_shared() { "store_now()" } else { "unixepoch() * 1000000" };
            let micros = ago.as_micros();
            seed::execute(&db, &format!("update webhook_endpoints set failing_since = {now} - {micros}"))
                .await;
        };

        decide(&store, workspace, endpoint, &failing).await;
        since(Duration::from_hours(5 * 24 - 1)).await;
        decide(&store, workspace, endpoint, &failing).await;
        decide(&store, workspace, endpoint, &[EndpointAction::Disable(elsewhere)]).await;
        assert!(seeded_endpoint(&store, workspace).await.enabled, "its URL answers well");
        let moved = EndpointPatch { url: Some(url.clone() + "new"), ..EndpointPatch::default() };
        decide(&store, workspace, endpoint, &[EndpointAction::Update(Box::new(moved))]).await;
        assert_eq!(seeded_endpoint(&store, workspace).await.failing_since, None, "those of another place");
        let back = EndpointPatch { url: Some(url.clone()), ..EndpointPatch::default() };
        decide(&store, workspace, endpoint, &[EndpointAction::Update(Box::new(back))]).await;
        since(Duration::from_hours(5 * 24 + 1)).await;
        decide(&store, workspace, endpoint, &failing).await;
        decide(&store, workspace, endpoint, &failing).await;

        let disabled = seeded_endpoint(&store, workspace).await;
        assert_eq!((disabled.enabled, disabled.disabled_reason), (false, Some(DisabledReason::Failing)));
        assert_eq!(disabled_events(&db).await, 1);
    }
);

both_backends!(
    async fn outcomes_of_an_old_url_do_not_count_for_the_new_one(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        decide(&store, workspace, NEW, &[make("https://a.example/")]).await;
        let six_days_ago = if store.is_shared() { "store_now()" } else { "unixepoch() * 1000000" };
        let six_days_ago = format!("{six_days_ago} - {}", Duration::from_hours(6 * 24).as_micros());
        seed::execute(&db, &format!("update webhook_endpoints set failing_since = {six_days_ago}")).await;
        let answers =
            ["https://a.example/", "https://b.example/"].map(|url| disable(url, DisabledReason::Failing));

        decide(&store, workspace, NEW, &[move_to("https://a.example/")]).await;
        assert!(find(&store, workspace, NEW).await.unwrap().failing_since.is_some(), "it is the same");
        decide(&store, workspace, NEW, &[move_to("https://b.example/")]).await;
        decide(&store, workspace, NEW, &answers).await;
        decide(&store, workspace, NEW, &[disable("https://a.example/", DisabledReason::Gone)]).await;

        let endpoint = find(&store, workspace, NEW).await.unwrap();
        assert_eq!((endpoint.enabled, endpoint.failing_since), (true, None));
        decide(&store, workspace, NEW, &[disable("https://b.example/", DisabledReason::Gone)]).await;
        assert!(!find(&store, workspace, NEW).await.unwrap().enabled);
    }
);

both_backends!(
    async fn the_previous_secret_signs_through_the_overlap(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        decide(&store, workspace, NEW, &[make("https://a.example/")]).await;
        let kept = async |actions: &[EndpointAction]| {
            decide(&store, workspace, NEW, actions).await;
            let endpoint = find(&store, workspace, NEW).await.unwrap();
            endpoint.stored_secrets().map(|kept| kept.as_str().to_owned()).collect::<Vec<_>>()
        };

        assert_eq!(kept(&[rotate("b", 60)]).await, ["b", "sealed"]);
        assert_eq!(kept(&[rotate("b", 60)]).await, ["b", "sealed"], "the same again");
        assert_eq!(kept(&[rotate("c", 60)]).await, ["c", "sealed"], "the answer with b was lost");
        assert_eq!(kept(&[rotate("sealed", 60)]).await, ["sealed", "c"], "back");
        assert_eq!(kept(&[rotate("d", 0)]).await, ["d"]);
        assert_eq!(kept(&[rotate("e", 60)]).await, ["e", "d"]);
        assert_eq!(kept(&[rotate("e", 0)]).await, ["e"], "the overlap is ended");
        kept(&[rotate("f", 60)]).await;
        seed::execute(&db, "update webhook_endpoints set previous_secret_until = 1").await;
        assert_eq!(kept(&[move_to("https://b.example/")]).await, ["f"], "nothing keeps what does not sign");
    }
);

both_backends!(
    async fn endpoints_changed_in_a_batch_apply_to_its_later_events(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let gone = disable("https://a.example/", DisabledReason::Gone);

        let outcomes =
            decide(&store, workspace, NEW, &[make("https://a.example/"), EndpointAction::Test, gone]).await;

        assert!(matches!(outcomes[1], Ok(Outcome::Tested(_))), "{outcomes:?}");
        let of_new =
            format!("select count(*) from deliveries where endpoint_id = {}", seed::literal(&db, NEW.0));
        assert_eq!(seed::query_number(&db, &of_new).await, 1, "its test");
        assert_eq!(
            seed::query_number(&db, "select count(*) from deliveries").await,
            2,
            "the other is told of its end"
        );
        assert_eq!(find(&store, workspace, NEW).await.unwrap().disabled_reason, Some(DisabledReason::Gone));
    }
);

both_backends!(
    async fn an_archived_endpoint_is_closed_and_only_a_deleted_one_removed(db: TestDb) {
        let workspace = seed::workspace(&db, 0).await.workspace;
        let store = store::open(&db).await;
        let of_file = seeded_endpoint(&store, workspace).await.id;
        let tests = [EndpointAction::Test, EndpointAction::Test, EndpointAction::Test];
        decide(&store, workspace, NEW, &[make("https://a.example/")]).await;
        decide(&store, workspace, NEW, &tests).await;
        decide(&store, workspace, of_file, &tests).await;
        seed::execute(
            &db,
            "insert into attempts (workspace_id, endpoint_id, cursor, number, started_at, finished_at, outcome) \
             select workspace_id, endpoint_id, cursor, 1, 0, 0, 'refused' from deliveries",
        )
        .await;

        decide(&store, workspace, NEW, &[EndpointAction::Archive { by_file: false }]).await;
        decide(&store, workspace, of_file, &[EndpointAction::Archive { by_file: true }]).await;
        let mut closed = Vec::new();
        let mut removed = Vec::new();
        for archived in store.read(webhook_endpoints::archived::list).await.unwrap() {
            for _ in 0..3 {
                let close = async |conn: Conn<'_>| {
                    webhook_endpoints::archived::close_deliveries(conn, archived, 2, &SystemClock).await
                };
                closed.push(store.write(close).await.unwrap());
            }
            for _ in 0..if archived.from_file { 0 } else { 3 } {
                let remove =
                    async |conn: Conn<'_>| webhook_endpoints::archived::remove(conn, archived, 2).await;
                removed.push(store.write(remove).await.unwrap());
            }
        }

        assert_eq!((closed, removed), (vec![2, 1, 0, 2, 1, 0], vec![2, 1, 0]));
        assert!(find(&store, workspace, NEW).await.is_none());
        assert!(find(&store, workspace, of_file).await.is_some());
        let kept = "select count(*) from deliveries where state = 'closed' and ended_at is not null";
        assert_eq!(seed::query_number(&db, kept).await, 3);
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
        decide(&store, workspace, endpoint, &[EndpointAction::Archive { by_file: true }]).await;
        let seen = store.read(webhook_endpoints::archived::list).await.unwrap()[0];
        let back = EndpointPatch { restores: true, ..EndpointPatch::default() };
        let back = [EndpointAction::Update(Box::new(back)), EndpointAction::Test];
        decide(&store, workspace, endpoint, &back).await;

        let close = async |conn: Conn<'_>| {
            webhook_endpoints::archived::close_deliveries(conn, seen, 9, &SystemClock).await
        };
        assert_eq!(store.write(close).await.unwrap(), 0);
        assert_eq!(
            seed::query_number(&db, "select count(*) from deliveries where state = 'queued'").await,
            1
        );
    }
);
