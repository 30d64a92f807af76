//! The vectors of passages: ownership, removal, and the claims of the processes that embed them.

use std::time::Duration;

use rejoinder::domain::clock::{Clock, FixedClock};
use rejoinder::domain::ids::{DocumentId, WorkspaceId};
use rejoinder::domain::knowledge::{Document, KnowledgeBase, Language, embedding_text, text_digest};
use rejoinder::domain::vector::Vector;
use rejoinder::store::knowledge::embedding_jobs::{self, EmbeddingJob};
use rejoinder::store::knowledge::embedding_models;
use rejoinder::store::knowledge::passage_vectors::{
    self, NearestPassages, PassageEmbedding, UnembeddedPassage,
};
use rejoinder::store::{Conn, Db, Tenant};
use uuid::Uuid;

use super::knowledge::{base_in, base_of, put, remove};
use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

const LASTING: Duration = Duration::from_mins(1);

fn clock() -> FixedClock {
    FixedClock::at("2026-03-16T10:00:00Z".parse().unwrap())
}

/// Sets the database's clock to the process's.
async fn set_store_clock(db: &TestDb, clock: &FixedClock) {
    seed::set_store_clock(db, &format!("{}::bigint", clock.now().0)).await;
}

fn vector(numbers: &[f32]) -> Vector {
    Vector::normalised(numbers.to_vec()).unwrap()
}

async fn unembedded(store: &Db, document: &Document, model: &str) -> Vec<UnembeddedPassage> {
    let read = async |conn: Conn<'_>| {
        passage_vectors::list_unembedded(conn, document.workspace, document.id, model, 100).await
    };
    store.read(Tenant::Process, read).await.unwrap()
}

/// Stores a vector for all passages of a document that have none of this model.
async fn embed(store: &Db, document: &Document, model: &str, numbers: Option<&[f32]>) -> Vec<i64> {
    let passages = unembedded(store, document, model).await;
    keep(store, document, model, &passages, numbers).await;
    passages.into_iter().map(|passage| passage.number).collect()
}

async fn keep(
    store: &Db,
    document: &Document,
    model: &str,
    passages: &[UnembeddedPassage],
    numbers: Option<&[f32]>,
) {
    let embed = |passage: &UnembeddedPassage| PassageEmbedding {
        number: passage.number,
        digest: text_digest(&embedding_text(&passage.title, &passage.heading, &passage.text)),
        vector: numbers.map(vector),
    };
    let embeddings: Vec<PassageEmbedding> = passages.iter().map(embed).collect();
    let write = async |conn: Conn<'_>| {
        passage_vectors::put(conn, document.workspace, document.base, model, &embeddings).await
    };
    store.write(Tenant::Process, write).await.unwrap();
}

async fn nearest(
    store: &Db,
    base: &KnowledgeBase,
    model: &str,
    query: &[f32],
    asked: &[i64],
) -> NearestPassages {
    let query = vector(query);
    let base_key = (base.workspace, base.id);
    let read =
        async |conn: Conn<'_>| passage_vectors::nearest(conn, base_key, (model, &query), 10, asked).await;
    store.read(Tenant::Process, read).await.unwrap()
}

async fn found(store: &Db, base: &KnowledgeBase, model: &str, query: &[f32]) -> Vec<i64> {
    nearest(store, base, model, query, &[]).await.ranked.into_iter().map(|(number, _)| number).collect()
}

async fn mark_all(store: &Db, model: &str) -> Option<i64> {
    let enqueue = async |conn: Conn<'_>| embedding_jobs::enqueue_missing(conn, model, 0, 100).await;
    store.write(Tenant::Process, enqueue).await.unwrap()
}

async fn note_use(store: &Db, model: &str, clock: &FixedClock) {
    let record = async |conn: Conn<'_>| embedding_models::record_use(conn, model, clock).await;
    store.write(Tenant::Process, record).await.unwrap();
}

async fn embedded(store: &Db, document: &Document, model: &str) -> i64 {
    let (workspace, base) = (document.workspace, document.base);
    let read = async |conn: Conn<'_>| {
        embedding_jobs::count_embedded(conn, workspace, base, Some(document.id), model).await
    };
    store.read(Tenant::Process, read).await.unwrap()
}

async fn next(store: &Db, model: &str, after: WorkspaceId, clock: &FixedClock) -> Vec<EmbeddingJob> {
    let list = async |conn: Conn<'_>| embedding_jobs::list_due(conn, model, after, 10, clock).await;
    store.read(Tenant::Process, list).await.unwrap()
}

/// The documents that wait for embedding.
async fn work(store: &Db, model: &str, clock: &FixedClock) -> Vec<EmbeddingJob> {
    next(store, model, WorkspaceId(Uuid::nil()), clock).await
}

async fn claim(store: &Db, work: EmbeddingJob, model: &str, clock: &FixedClock) -> bool {
    let claim = async |conn: Conn<'_>| embedding_jobs::claim(conn, work, model, LASTING, clock).await;
    store.write(Tenant::Process, claim).await.unwrap()
}

async fn release(store: &Db, work: EmbeddingJob, model: &str, is_finished: bool, clock: &FixedClock) {
    let write = async |conn: Conn<'_>| embedding_jobs::release(conn, work, model, is_finished, clock).await;
    store.write(Tenant::Process, write).await.unwrap();
}

both_backends!(
    async fn vectors_are_searched_by_base_and_model(db: TestDb) {
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
    async fn replacing_or_removing_a_document_removes_its_vectors(db: TestDb) {
        let store = store::open(&db).await;
        let base = base_in(&db, &store, Language::English).await;
        let old = put(&store, &base, "returns", "# A\nOne.\n\n# B\nTwo.").await;
        let before = unembedded(&store, &old, "m").await;
        let stale = embed(&store, &old, "m", Some(&[1.0, 0.0])).await;
        assert_eq!(stale.len(), 2);

        let new = put(&store, &base, "returns", "# A\nThree.\n\n# B\nFour.").await;
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await, [0_i64; 0]);
        // The process that embedded it when it was replaced is too late.
        keep(&store, &old, "m", &before, Some(&[1.0, 0.0])).await;
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await, [0_i64; 0]);

        let fresh = embed(&store, &new, "m", Some(&[1.0, 0.0])).await;
        assert!(fresh.iter().all(|number| !stale.contains(number)));
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await, fresh);
        remove(&store, &base, &new).await;
        assert_eq!(seed::query_number(&db, "select count(*) from passage_vectors").await, 0);
    }
);

both_backends!(
    async fn a_refused_passage_is_not_embedded_again(db: TestDb) {
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
    async fn a_document_has_one_claim_until_it_is_done_or_expires(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        set_store_clock(&db, &clock).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "nothing", "").await;
        let document = put(&store, &base, "a", "A.").await;
        for model in ["m", "another"] {
            mark_all(&store, model).await;
        }
        note_use(&store, "m", &clock).await;
        let [found] = work(&store, "m", &clock).await[..] else { panic!("one document has passages") };
        assert_eq!(found.document, document.id);

        let (first, second) =
            tokio::join!(claim(&store, found, "m", &clock), claim(&store, found, "m", &clock));
        assert!(first ^ second, "{first} {second}");
        assert_eq!(work(&store, "m", &clock).await, []);
        assert_eq!(work(&store, "another", &clock).await.len(), 1, "a claim covers one model");

        clock.advance(LASTING);
        set_store_clock(&db, &clock).await;
        assert_eq!(work(&store, "m", &clock).await, [found], "the claim has expired");
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
        // The late result of the previous claim belongs to another text.
        release(&store, found, "m", true, &clock).await;
        assert_eq!(work(&store, "m", &clock).await, [again]);
    }
);

both_backends!(
    async fn workspaces_are_embedded_in_rotation(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        let bases =
            [base_in(&db, &store, Language::English).await, base_in(&db, &store, Language::English).await];
        for base in &bases {
            put(&store, base, "a", "A.").await;
            put(&store, base, "b", "B.").await;
        }
        mark_all(&store, "m").await;
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
    async fn new_passages_are_marked_for_active_models_and_older_ones_by_the_backfill(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        let base = base_in(&db, &store, Language::English).await;
        let early = put(&store, &base, "early", "A.").await;
        note_use(&store, "m", &clock).await;
        let late = put(&store, &base, "late", "B.").await;
        let documents = async || -> Vec<DocumentId> {
            work(&store, "m", &clock).await.into_iter().map(|work| work.document).collect()
        };

        assert_eq!(documents().await, [late.id]);
        assert!(mark_all(&store, "m").await.is_some());
        assert_eq!(documents().await, [early.id, late.id]);
        assert_eq!(mark_all(&store, "m").await, None, "all are marked");

        put(&store, &base, "early", "").await;
        assert_eq!(documents().await, [late.id], "there is nothing to embed");
        assert_eq!(seed::query_number(&db, "select count(*) from document_embeddings").await, 1);
    }
);

both_backends!(
    async fn a_renewed_claim_lasts_and_a_postponed_document_waits_longer_each_time(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        set_store_clock(&db, &clock).await;
        let base = base_in(&db, &store, Language::English).await;
        put(&store, &base, "a", "A.").await;
        mark_all(&store, "m").await;
        let [found] = work(&store, "m", &clock).await[..] else { panic!("there is work") };
        assert!(claim(&store, found, "m", &clock).await);
        let pass = async |time: Duration| {
            clock.advance(time);
            set_store_clock(&db, &clock).await;
            work(&store, "m", &clock).await.len()
        };

        assert_eq!(pass(LASTING / 2).await, 0);
        let renew = async |conn: Conn<'_>| embedding_jobs::renew(conn, found, "m", LASTING, &clock).await;
        store.write(Tenant::Process, renew).await.unwrap();
        assert_eq!(pass(LASTING / 2).await, 0, "the vector was kept");

        let pauses = [Duration::from_secs(1), Duration::from_secs(9)];
        for (waits, later) in [(0, 1), (8, 1), (8, 1)] {
            let set_back =
                async |conn: Conn<'_>| embedding_jobs::snooze(conn, found, "m", &pauses, &clock).await;
            store.write(Tenant::Process, set_back).await.unwrap();
            assert_eq!(pass(Duration::from_secs(waits)).await, 0);
            assert_eq!(pass(Duration::from_secs(later)).await, 1);
        }
    }
);

both_backends!(
    async fn a_new_version_keeps_the_vectors_of_unchanged_passages(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        let base = base_in(&db, &store, Language::English).await;
        note_use(&store, "m", &clock).await;
        let old = put(&store, &base, "a", "# A\nOne.\n\n# B\nTwo.\n\n# B\nTwo.").await;
        embed(&store, &old, "m", Some(&[1.0, 0.0])).await;

        let new = put(&store, &base, "a", "# B\nTwo.\n\n# A\nThree.\n\n# B\nTwo.").await;

        let left: Vec<String> =
            unembedded(&store, &new, "m").await.into_iter().map(|passage| passage.text).collect();
        assert_eq!(left, ["Three."]);
        assert_eq!(embedded(&store, &new, "m").await, 2);
        assert_eq!(found(&store, &base, "m", &[1.0, 0.0]).await.len(), 2);
        let astray = "select count(*) from passage_vectors v left join passages p on p.number = v.number \
            and p.position = v.position where p.number is null";
        assert_eq!(seed::query_number(&db, astray).await, 0);
    }
);

both_backends!(
    async fn finishing_a_document_counts_all_embedded_passages(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        let base = base_in(&db, &store, Language::English).await;
        note_use(&store, "m", &clock).await;
        let document = put(&store, &base, "a", "A.").await;
        // As a process does whose claim was of an earlier version.
        embed(&store, &document, "m", Some(&[1.0, 0.0])).await;
        assert_eq!(embedded(&store, &document, "m").await, 0);

        let [found] = work(&store, "m", &clock).await[..] else { panic!("there is work") };
        assert!(claim(&store, found, "m", &clock).await);
        release(&store, found, "m", true, &clock).await;

        assert_eq!(embedded(&store, &document, "m").await, 1);
    }
);

both_backends!(
    async fn vectors_of_an_unused_model_are_removed_after_a_while(db: TestDb) {
        let (store, clock) = (store::open(&db).await, clock());
        set_store_clock(&db, &clock).await;
        let base = base_in(&db, &store, Language::English).await;
        for model in ["old", "new"] {
            note_use(&store, model, &clock).await;
        }
        let documents = [put(&store, &base, "a", "A.").await, put(&store, &base, "b", "B.").await];
        for model in ["old", "new"] {
            for document in &documents {
                embed(&store, document, model, Some(&[1.0, 0.0])).await;
            }
            for found in work(&store, model, &clock).await {
                assert!(claim(&store, found, model, &clock).await);
                release(&store, found, model, true, &clock).await;
            }
        }
        let unused_for = Duration::from_mins(10);
        let remove = async || {
            let write =
                async |conn: Conn<'_>| embedding_models::remove_retired(conn, unused_for, &clock).await;
            store.write(Tenant::Process, write).await.unwrap()
        };

        assert!(!remove().await);
        clock.advance(unused_for);
        set_store_clock(&db, &clock).await;
        note_use(&store, "old", &clock).await;
        note_use(&store, "new", &clock).await;
        assert!(!remove().await, "both models are in use");

        clock.advance(unused_for);
        set_store_clock(&db, &clock).await;
        note_use(&store, "new", &clock).await;
        assert!(remove().await);
        assert_eq!(found(&store, &base, "old", &[1.0, 0.0]).await.len(), 1, "one document at a time");
        assert!(remove().await);
        assert!(remove().await, "then the model");
        assert!(!remove().await);

        assert_eq!(found(&store, &base, "old", &[1.0, 0.0]).await, [0_i64; 0]);
        assert_eq!(found(&store, &base, "new", &[1.0, 0.0]).await.len(), 2);
        assert_eq!(seed::query_number(&db, "select count(*) from document_embeddings").await, 2);
    }
);
