//! The store's contract: what every function of it promises, on both databases.

use crate::support::db::both_backends;
use crate::support::store;

both_backends!(
    async fn a_migrated_store_is_usable_and_migrates_again_to_nothing(db: TestDb) {
        let db = store::open(&db).await;

        db.migrate().await.unwrap();

        db.check_schema().await.unwrap();
    }
);
