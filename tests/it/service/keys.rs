//! API keys and credit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rejoinder::app::{Listeners, Server, ServerDependencies};
use rejoinder::config::Config;
use rejoinder::domain::account::Scope;
use rejoinder::domain::audit::Actor;
use rejoinder::domain::clock::{Clock, FixedClock};
use rejoinder::domain::error::Error;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::money::Money;
use rejoinder::service::authenticate::{authenticate, flush_last_used};
use rejoinder::service::credit::{CreditOutcome, credit};
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::Db;
use tokio::net::TcpListener;

use super::operator::Operator;
use crate::support::db::both_backends;
use crate::support::{document_extractor, store};

const FILE: &str = "[workspace]\nslug = \"shop\"\nname = \"Shop\"\nbalance = \"1.00\"\n";

fn request(expires_in: Option<Duration>) -> CreateKey {
    CreateKey { workspace: "shop".to_owned(), name: "ci".to_owned(), scopes: vec![Scope::Read], expires_in }
}

/// A server on the database, and its clock.
async fn serve(db: Db) -> (Server, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::at("2026-11-02T09:00:00Z".parse().unwrap()));
    let on = ServerDependencies {
        db,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ids: Arc::new(IdGenerator::random()),
        seal_keys: None,
        document_extractor: document_extractor::child_process(),
        metrics: None,
    };
    let config = Config::load(None, std::iter::empty()).unwrap();
    let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (Server::start(&config, on, Listeners { public, operator: None }).await.unwrap(), clock)
}

both_backends!(
    async fn a_key_authenticates_until_it_expires(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        operator.apply(FILE).await;
        let hour = Duration::from_hours(1);
        let created = keys::create(&operator.db, &operator.clock, &operator.ids, request(Some(hour))).await;
        let (secret, key) = created.unwrap();
        let (server, clock) = serve(store::open(&db).await).await;

        let account = authenticate(&server.services, secret.expose(), None, || Ok(())).await.unwrap();
        flush_last_used(&server.services).await.unwrap();
        let listed = keys::list(&operator.db, Some("shop")).await.unwrap();
        clock.advance(hour);
        let expired = authenticate(&server.services, secret.expose(), None, || Ok(())).await;

        assert_eq!((account.workspace, account.scopes), (key.workspace, vec![Scope::Read]));
        assert_eq!(listed[0].1.last_used_at, Some(key.created_at));
        assert!(matches!(expired, Err(Error::Unauthenticated)));
        server.stop().await;
    }
);

both_backends!(
    async fn a_revoked_or_unknown_key_does_not_authenticate(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        operator.apply(FILE).await;
        let (secret, key) =
            keys::create(&operator.db, &operator.clock, &operator.ids, request(None)).await.unwrap();
        let (server, _) = serve(store::open(&db).await).await;

        keys::revoke(&operator.db, &operator.clock, &operator.ids, key.id).await.unwrap();
        keys::revoke(&operator.db, &operator.clock, &operator.ids, key.id).await.unwrap();

        let unknown = rejoinder::domain::api_key::KeySecret::new([1; 32]);
        for bearer in [secret.expose(), unknown.expose(), "sk_test_51_fakeapikey123456", ""] {
            let refused = authenticate(&server.services, bearer, None, || Ok(())).await;
            assert!(matches!(refused, Err(Error::Unauthenticated)), "{refused:?}");
        }
        server.stop().await;
    }
);

/// Authenticates 50 times at once. Returns how many succeeded, and how many were counted as unknown.
async fn authenticate_at_once(server: &Server, bearer: &str) -> (usize, usize) {
    let counted = AtomicUsize::new(0);
    let count = || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let results = join_all((0..50).map(|_| authenticate(&server.services, bearer, None, count))).await;
    (results.iter().filter(|result| result.is_ok()).count(), counted.into_inner())
}

both_backends!(
    async fn a_key_counts_as_unknown_until_it_was_read_and_an_invalid_token_always(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        operator.apply(FILE).await;
        let (secret, key) =
            keys::create(&operator.db, &operator.clock, &operator.ids, request(None)).await.unwrap();
        let (server, _) = serve(store::open(&db).await).await;
        let unknown = rejoinder::domain::api_key::KeySecret::new([1; 32]);

        let (valid, counted) = authenticate_at_once(&server, secret.expose()).await;
        assert_eq!(valid, 50);
        assert!((1..=2).contains(&counted), "as many as there are look-ups at a time: {counted}");
        assert_eq!(authenticate_at_once(&server, secret.expose()).await, (50, 0));
        assert_eq!(authenticate_at_once(&server, unknown.expose()).await, (0, 50));
        assert_eq!(authenticate_at_once(&server, "malformed").await, (0, 50));

        keys::revoke(&operator.db, &operator.clock, &operator.ids, key.id).await.unwrap();
        server.stop().await;
        let (restarted, _) = serve(store::open(&db).await).await;
        assert_eq!(authenticate_at_once(&restarted, secret.expose()).await, (0, 50));
        restarted.stop().await;
    }
);

both_backends!(
    async fn a_token_that_may_not_be_looked_up_is_refused_before_the_database_is_read(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        operator.apply(FILE).await;
        let (server, _) = serve(store::open(&db).await).await;
        server.services.db.close().await;

        let unknown = rejoinder::domain::api_key::KeySecret::new([1; 32]);
        let wait = Duration::from_secs(7);
        let refuse = || Err(Error::LimitReached { retry_after: wait });
        let answer = authenticate(&server.services, unknown.expose(), None, refuse).await;

        let is_refused = matches!(answer, Err(Error::LimitReached { retry_after }) if retry_after == wait);
        assert!(is_refused, "{answer:?}");
        server.stop().await;
    }
);

both_backends!(
    async fn an_unavailable_database_is_not_an_invalid_key(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        operator.apply(FILE).await;
        let (server, _) = serve(store::open(&db).await).await;
        server.services.db.close().await;

        let unknown = rejoinder::domain::api_key::KeySecret::new([1; 32]);
        let answer = authenticate(&server.services, unknown.expose(), None, || Ok(())).await;

        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
        server.stop().await;
    }
);

both_backends!(
    async fn a_missing_object_is_named_in_the_error(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);

        let created = keys::create(&operator.db, &operator.clock, &operator.ids, request(None)).await;
        let id = "key_01kb3w2v9ye8qanvd4c7g6h5mt".parse().unwrap();
        let revoked = keys::revoke(&operator.db, &operator.clock, &operator.ids, id).await;

        assert_eq!(created.unwrap_err().to_string(), "there is no workspace \"shop\"");
        assert_eq!(revoked.unwrap_err().to_string(), "there is no key key_01kb3w2v9ye8qanvd4c7g6h5mt");
    }
);

both_backends!(
    async fn a_credit_reference_counts_once(db: TestDb) {
        let operator = Operator::of(store::open(&db).await);
        operator.apply(FILE).await;
        let give = async |amount, reference: &str| {
            let actor = Arc::new(Actor::server());
            let (db, clock, ids) = (&operator.db, &operator.clock, &operator.ids);
            credit(db, clock, ids, "shop", Money(amount), reference, actor).await
        };

        let first = give(2_000_000, "invoice-1").await.unwrap();
        let again = give(2_000_000, "invoice-1").await.unwrap();
        let other = give(3_000_000, "invoice-1").await;
        let nothing = give(0, "invoice-2").await;
        let taken = give(-9_000_000, "correction").await;

        let CreditOutcome::Granted(entry) = first else { panic!("{first:?}") };
        assert_eq!(entry.balance_after, Money(3_000_000));
        assert_eq!(again, CreditOutcome::AlreadyGranted { balance: Money(3_000_000) });
        assert_eq!(
            other.unwrap_err().to_string(),
            "invoice-1 has counted already, for 2.00; nothing was credited. Give another reference"
        );
        assert_eq!(nothing.unwrap_err().to_string(), "the amount must not be zero");
        assert_eq!(
            taken.unwrap_err().to_string(),
            "the balance is 3.00: The balance after it would be below zero or too large."
        );
    }
);
