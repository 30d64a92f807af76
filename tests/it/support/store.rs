//! The product's schema as a template of test databases, and handles on them.

use std::path::Path;

use rejoinder::store::Db;

use super::db::{Backend, Template, TestDb};

/// The store's schema, migrated by the product itself.
pub const STORE: Template = Template {
    name: "store",
    migrate: |url| {
        Box::pin(async move {
            let db = open_url(&url).await;
            db.migrate().await?;
            db.close().await;
            Ok(())
        })
    },
};

/// An SQLite database with the store's schema, for tests that do not depend on the database.
pub async fn sqlite() -> TestDb {
    TestDb::copy_of(&STORE, Backend::Sqlite).await
}

/// A PostgreSQL database with the store's schema, for tests with several processes.
pub async fn postgres() -> TestDb {
    TestDb::copy_of(&STORE, Backend::Postgres).await
}

/// A handle on the test's database. Two handles act as two processes.
pub async fn open(db: &TestDb) -> Db {
    open_url(&db.url()).await
}

/// A handle on the database at a URL (`sqlite://…`, `postgres://…`).
pub async fn open_url(url: &str) -> Db {
    match url.strip_prefix("sqlite://") {
        Some(path) => Db::sqlite(Path::new(path)).await.expect("the SQLite file opens"),
        None => Db::postgres(url, 4, 4).await.expect("the PostgreSQL database is there"),
    }
}
