//! Each test has its own database, on either backend, copied from a template that is migrated once.

use std::time::UNIX_EPOCH;

use futures::future::BoxFuture;

use super::{postgres, sqlite};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The template of a test's database.
pub struct Template {
    /// Unique; lower-case letters, digits and underscores.
    pub name: &'static str,
    /// Migrates the empty database at a URL (`sqlite://…`, `postgres://…`), and leaves no connection open.
    pub migrate: fn(String) -> BoxFuture<'static, anyhow::Result<()>>,
}

impl Template {
    /// The template's name in this build of the tests, so that a later build does not use an old schema.
    pub(super) fn versioned_name(&self) -> String {
        let built = std::env::current_exe().and_then(std::fs::metadata).expect("the test binary can be read");
        let modified = built.modified().expect("this system keeps modification times");
        let age = modified.duration_since(UNIX_EPOCH).expect("the test binary is younger than 1970");
        format!("{}_{:x}_{:x}", self.name, built.len(), age.as_nanos())
    }
}

/// The database of one test, removed when this is dropped. Two servers on it are two processes on one database.
pub enum TestDb {
    Sqlite(sqlite::Folder),
    Postgres(Box<postgres::Database>),
}

impl TestDb {
    pub async fn copy_of(template: &Template, backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::Sqlite(sqlite::Folder::copy_of(template).await),
            Backend::Postgres => Self::Postgres(Box::new(postgres::Database::copy_of(template).await)),
        }
    }

    /// The URL, as in `DATABASE_URL`.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => folder.url(),
            Self::Postgres(database) => database.url(),
        }
    }

    /// A copy, as a backup that is restored. No server may be running on this one.
    pub async fn copy(&self) -> Self {
        match self {
            Self::Sqlite(folder) => Self::Sqlite(folder.copy().await),
            Self::Postgres(database) => Self::Postgres(Box::new(database.copy().await)),
        }
    }

    /// All that is stored: a dump of a PostgreSQL database, the files of an SQLite database.
    pub fn stored_bytes(&self) -> Vec<u8> {
        match self {
            Self::Sqlite(folder) => sqlite::stored_bytes(&folder.path()),
            Self::Postgres(database) => database.dump(),
        }
    }

    pub fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Postgres(_) => Backend::Postgres,
        }
    }
}

/// Defines two tests, `name::sqlite` and `name::postgres`, on copies of the store's schema (`store::STORE`) or of the given
/// template.
///
/// ```ignore
/// both_backends!(async fn a_message_is_stored_once(db: TestDb) { … });
/// both_backends!(TEMPLATE => async fn a_note_is_stored_once(db: TestDb) { … });
/// ```
macro_rules! both_backends {
    ($(#[$attribute:meta])* async fn $($test:tt)*) => {
        $crate::support::db::both_backends!($crate::support::store::STORE => $(#[$attribute])* async fn $($test)*);
    };
    ($template:expr => $(#[$attribute:meta])* async fn $name:ident($db:ident: TestDb) $body:block) => {
        mod $name {
            use super::*;

            async fn $name($db: $crate::support::db::TestDb) $body

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                use $crate::support::db::{Backend, TestDb};
                Box::pin($name(TestDb::copy_of(&$template, Backend::Sqlite).await)).await;
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                use $crate::support::db::{Backend, TestDb};
                Box::pin($name(TestDb::copy_of(&$template, Backend::Postgres).await)).await;
            }
        }
    };
}
pub(crate) use both_backends;
