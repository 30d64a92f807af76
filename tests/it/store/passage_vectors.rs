//! Vectors beside passages: whose they are, when they go, and which process makes them.

use std::time::Duration;

use rejoinder::domain::clock::{Clock, FixedClock};
use rejoinder::domain::ids::WorkspaceId;
use rejoinder::domain::knowledge::{Base, Document, Language};
use rejoinder::domain::vector::Vector;
use rejoinder::store::embedding_work::{self, Work};
use rejoinder::store::passage_vectors::{self, Near, Unembedded};
use rejoinder::store::{Conn, Db};
use uuid::Uuid;

use super::knowledge::{base_in, base_of, put, remove};
use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::{seed, store};

const LASTING: Duration = Duration::from_secs(60);

fn clock() -> FixedClock {
    FixedClock::at("2026-03-16T10:00:00Z".parse().unwrap())
}

/// The store's clock stands with the process's.
async fn set_store_clock(db: &TestDb, clock: &FixedClock) {
    if db.backend() == Backend::Postgres {
        let now = clock.now().0;
        seed::execute(
            db,
            &format!("create or replace function store_now() returns bigint language sql volatile as $$ select cast({now} as bigint) $$"),
        )
        .await;
    }
}

fn vector(numbers: &[f32]) -> Vector {
    Vector::normalised(numbers.to_vec()).unwrap()
}

async fn unembedded(store: &Db, document: &Document, model: &str) -> Vec<Unembedded> {
    let read = async |conn: Conn<'_>| {
        passage_vectors::unembedded(conn, document.workspace, document.id, model, 100).await
    };
    store.reading(read).await.unwrap()
}

/// Gives all passages of a document that have no vector of this model this one.
async fn embed(store: &Db, document: &Document, model: &str, numbers: Option<&[f32]>) -> Vec<i64> {
    let passages: Vec<i64> =
        unembedded(store, document, model).await.into_iter().map(|passage| passage.number).collect();
    keep(store, document, model, &passages, numbers).await;
    passages
}

async fn keep(store: &Db, document: &Document, model: &str, passages: &[i64], numbers: Option<&[f32]>) {
    let vectors: Vec<_> = passages.iter().map(|number| (*number, numbers.map(vector))).collect();
    let write = async |conn: Conn<'_>| {
        passage_vectors::put(conn, document.workspace, document.base, model, &vectors).await
    };
    store.writing(write).await.unwrap();
}

async fn nearest(store: &Db, base: &Base, model: &str, query: &[f32], asked: &[i64]) -> Near {
    let query = vector(query);
    let place = (base.workspace, base.id);
    store
        .reading(async |conn| passage_vectors::nearest(conn, place, (model, &query), 10, asked).await)
        .await
        .unwrap()
}

async fn found(store: &Db, base: &Base, model: &str, query: &[f32]) -> Vec<i64> {
    nearest(store, base, model, query, &[]).await.ranked.into_iter().map(|(number, _)| number).collect()
}

async fn next(store: &Db, model: &str, after: WorkspaceId, clock: &FixedClock) -> Vec<Work> {
    store.reading(async |conn| embedding_work::next(conn, model, after, 10, clock).await).await.unwrap()
}

/// What is to be embedded, by whomsoever.
async fn work(store: &Db, model: &str, clock: &FixedClock) -> Vec<Work> {
    next(store, model, WorkspaceId(Uuid::nil()), clock).await
}

async fn claim(store: &Db, work: Work, model: &str, clock: &FixedClock) -> bool {
    store.writing(async |conn| embedding_work::claim(conn, work, model, LASTING, clock).await).await.unwrap()
}

async fn release(store: &Db, work: Work, model: &str, is_finished: bool, clock: &FixedClock) {
    let write = async |conn: Conn<'_>| embedding_work::release(conn, work, model, is_finished, clock).await;
    store.writing(write).await.unwrap();
}

both_backends!(
    async fn vectors_are_found_in_their_base_and_of_their_model_alone(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let neighbour = base_of(&store, base.workspace, "neighbour", Language::English).await;
        let stranger = base_in(&db, &store, Language::English).await;
        let cars = put(&store, &base, "cars", "Cars.").await;
        let dogs = put(&store, &base, "dogs", "Dogs.").await;
        let cars_number = embed(&store, &cars, "m", Some(&[1.0, 0.1])).await[0];
        let dogs_number = embed(&store, &dogs, "m", Some(&[0.1, 1.0])).await[0];
        for other in [&neighbour, &stranger] {
            let document = put(&store, other, "cars", "Cars.").await;
            embed(&store, &document, "m", Some(&[1.0, 0.0])).await;
        }
        embed(&store, &cars, "another", Some(&[1.0, 0.0])).await;
        let longer = put(&store, &base, "longer", "Longer.").await;
        embed(&store, &longer, "m", Some(&[1.0, 0.0, 0.0])).await;

        let near = nearest(&store, &base, "m", &[1.0, 0.0], &[dogs_number, 999_999]).await;

        let numbers: Vec<i64> = near.ranked.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [cars_number, dogs_number]);
        assert!(near.ranked[0].1 > 0.99 && near.ranked[1].1 < 0.2, "{near:?}");
        assert_eq!(near.embedded, [dogs_number]);
        assert_eq!(found(&store, &base, "none", &[1.0, 0.0]).await, [0_i64; 0]);
    }
);

both_backends!(
    async fn a_document_that_is_replaced_or_removed_takes_its_vectors_along(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let old = put(&store, &base, "returns", "# A\nOne.\n\n# B\nTwo.").await;
        let stale = embed(&store, &old, "m", Some(&[1.0, 0.0])).await;
        assert_eq!(stale.len(), 2);

        let new = put(&store, &base, "returns", "# A\nThree.\n\n# B\nFour.").await;
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await, [0_i64; 0]);
        // Whoever was at it when it was replaced comes too late.
        keep(&store, &old, "m", &stale, Some(&[1.0, 0.0])).await;
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await, [0_i64; 0]);

        let fresh = embed(&store, &new, "m", Some(&[1.0, 0.0])).await;
        assert!(fresh.iter().all(|number| !stale.contains(number)));
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await, fresh);
        remove(&store, &base, &new).await;
        assert_eq!(seed::number(&db, "select count(*) from passage_vectors").await, 0);
    }
);

both_backends!(
    async fn a_passage_that_a_model_refuses_is_not_asked_for_again_and_never_found(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let document = put(&store, &base, "odd", "Odd.").await;

        embed(&store, &document, "m", None).await;

        assert_eq!(unembedded(&store, &document, "m").await, []);
        assert_eq!(unembedded(&store, &document, "another").await.len(), 1);
        assert_eq!(found(&store, &base, "m", &[1.0]).await, [0_i64; 0]);
    }
);

both_backends!(
    async fn a_document_is_claimed_by_one_until_it_is_done_or_the_claim_is_over(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        set_store_clock(&db, &clock).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "nothing", "").await;
        let document = put(&store, &base, "a", "A.").await;
        let [found] = work(&store, "m", &clock).await[..] else { panic!("one document has passages") };
        assert_eq!(found.document, document.id);

        let (first, second) =
            tokio::join!(claim(&store, found, "m", &clock), claim(&store, found, "m", &clock));
        assert!(first ^ second, "{first} {second}");
        assert_eq!(work(&store, "m", &clock).await, []);
        assert_eq!(work(&store, "another", &clock).await.len(), 1, "a claim is of one model");

        clock.advance(LASTING);
        set_store_clock(&db, &clock).await;
        assert_eq!(work(&store, "m", &clock).await, [found], "its claimer was lost");
        assert!(claim(&store, found, "m", &clock).await);
        release(&store, found, "m", false, &clock).await;
        assert_eq!(work(&store, "m", &clock).await, [found]);
        assert!(claim(&store, found, "m", &clock).await);
        release(&store, found, "m", true, &clock).await;
        assert_eq!(work(&store, "m", &clock).await, []);
        assert!(!claim(&store, found, "m", &clock).await, "there is nothing to do");

        put(&store, &base, "a", "B.").await;
        let [again] = work(&store, "m", &clock).await[..] else { panic!("it was replaced") };
        assert!(again.first_number > found.first_number);
        // A late word of the one before is of another text.
        release(&store, found, "m", true, &clock).await;
        assert_eq!(work(&store, "m", &clock).await, [again]);
    }
);

both_backends!(
    async fn each_workspace_has_its_turn(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        let bases =
            [base_in(&db, &store, Language::English).await, base_in(&db, &store, Language::English).await];
        for base in &bases {
            put(&store, base, "a", "A.").await;
            put(&store, base, "b", "B.").await;
        }
        let mut workspaces = bases.map(|base| base.workspace);
        workspaces.sort();

        let order = async |after| -> Vec<WorkspaceId> {
            next(&store, "m", after, &clock).await.into_iter().map(|work| work.workspace).collect()
        };

        let [low, high] = workspaces;
        assert_eq!(order(WorkspaceId(Uuid::nil())).await, [low, low, high, high]);
        assert_eq!(order(low).await, [high, high, low, low]);
        assert_eq!(order(high).await, [low, low, high, high]);
    }
);

both_backends!(
    async fn another_models_vectors_stay_until_this_one_is_done_and_a_while_longer(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        set_store_clock(&db, &clock).await;
        let base = base_in(&db, &store, Language::English).await;
        let document = put(&store, &base, "a", "A.").await;
        let kept = Duration::from_secs(600);
        let remove = async || {
            let write =
                async |conn: Conn<'_>| embedding_work::remove_retired(conn, "new", kept, 10, &clock).await;
            store.writing(write).await.unwrap()
        };
        for model in ["old", "new"] {
            let [found] = work(&store, model, &clock).await[..] else { panic!("there is work") };
            assert!(claim(&store, found, model, &clock).await);
            embed(&store, &document, model, Some(&[1.0, 0.0])).await;
            assert_eq!(remove().await, 0);
            release(&store, found, model, true, &clock).await;
        }

        assert_eq!(remove().await, 0, "another process may still use them");
        clock.advance(kept);
        set_store_clock(&db, &clock).await;

        assert_eq!(remove().await, 1);
        assert_eq!(remove().await, 0);
        assert_eq!(found(&store, &base, "old", &[1.0, 0.0]).await, [0_i64; 0]);
        assert_eq!(found(&store, &base, "new", &[1.0, 0.0]).await.len(), 1);
        assert_eq!(seed::number(&db, "select count(*) from document_embeddings").await, 1);
    }
);
