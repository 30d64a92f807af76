//! The product's schema as a template of test databases, and handles on them.

use std::path::Path;

use rejoinder::config::Config;
use rejoinder::store::{Conn, Db, PostgresSettings};
use url::Url;

use super::db::{Backend, Template, TestDb};
use super::postgres::Database;

/// Makes every transaction of every test fail that changes configuration which processes cache, and does not change its version.
const CHECK_CONFIG_VERSION: &str = "
    create function config_version_changed() returns trigger language plpgsql as $$ begin
        perform set_config('test.version_' || replace(new.workspace_id::text, '-', '_'), 'changed', true);
        return null;
    end $$;
    create trigger inserted after insert on workspace_state for each row execute function config_version_changed();
    create trigger changed after update on workspace_state for each row
        when (new.config_version <> old.config_version) execute function config_version_changed();
    create function check_config_version() returns trigger language plpgsql as $$
    declare workspace uuid := coalesce(to_jsonb(new) ->> 'workspace_id', to_jsonb(new) ->> 'id');
    begin
        if current_setting('test.version_' || replace(workspace::text, '-', '_'), true) is distinct from 'changed' then
            raise 'the configuration of workspace % was changed without its version', workspace;
        end if;
        return null;
    end $$;
    create constraint trigger checked after insert or update on workspaces deferrable initially deferred
        for each row execute function check_config_version();
    create constraint trigger checked after insert or update on assistants deferrable initially deferred
        for each row execute function check_config_version();
    create constraint trigger checked after insert or update of types, enabled, archived_at on webhook_endpoints
        deferrable initially deferred for each row execute function check_config_version();";

/// The store's schema, migrated by the product itself.
pub const STORE: Template = Template {
    name: "store",
    migrate: |url| {
        Box::pin(async move {
            let db = open_url(&url).await;
            db.migrate().await?;
            let mut tx = db.begin().await?;
            if let Conn::Postgres(conn) = tx.conn() {
                sqlx::raw_sql(CHECK_CONFIG_VERSION).execute(conn).await?;
            }
            tx.commit().await?;
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

/// A database in another cluster than that of the run.
pub async fn postgres_in(cluster: Url) -> TestDb {
    TestDb::Postgres(Box::new(Database::copy_in(cluster, &STORE).await))
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

/// [`open_url`] with the settings for a pooler.
pub async fn open_with(url: &str, config: &Config) -> Db {
    if !config.store.transaction_pooler {
        return open_url(url).await;
    }
    let settings = PostgresSettings { transaction_pooler: true, ..PostgresSettings::new(4, 4) };
    Db::postgres_with(url, settings).await.expect("the pooler is there")
}
