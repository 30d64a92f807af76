//! Two programs on one database: this one, and the next version, which has widened the schema. The tests stand for the next version:
//! they embed a further migration, and serve with the library.

use std::str::FromStr as _;

use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Program, change};
use crate::support::binary::ServerProcess;
use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

/// The migration of the next version. Those of this version are in the library, which has applied them.
fn next_version(backend: Backend) -> Migrator {
    let mut migrations = match backend {
        Backend::Postgres => sqlx::migrate!("tests/it/startup/next_version/postgres"),
        Backend::Sqlite => sqlx::migrate!("tests/it/startup/next_version/sqlite"),
    };
    migrations.set_ignore_missing(true);
    migrations
}

async fn migrate_to_next_version(db: &TestDb) {
    let migrations = next_version(db.backend());
    match db.backend() {
        Backend::Postgres => {
            let mut connection = PgConnectOptions::from_str(&db.url()).unwrap().connect().await.unwrap();
            migrations.run_direct(None, &mut connection, false).await.unwrap();
            connection.close().await.unwrap();
        }
        Backend::Sqlite => {
            let mut connection = SqliteConnectOptions::from_str(&db.url()).unwrap().connect().await.unwrap();
            migrations.run_direct(None, &mut connection, false).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// Adds a field that this version does not know to a stored struct, and to those in it.
fn widen(value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    object.insert("of_the_next_version".to_owned(), json!({ "nested": true }));
    for kind in ["config", "kind"] {
        let variants = object.get_mut(kind).and_then(Value::as_object_mut);
        variants.into_iter().flat_map(|variants| variants.values_mut()).for_each(widen);
    }
    for field in ["calendar", "caldav"] {
        object.get_mut(field).into_iter().for_each(widen);
    }
    let tools = object.get_mut("tools").and_then(Value::as_array_mut);
    tools.into_iter().flatten().for_each(widen);
}

/// Stores the configuration as the next version does, with further fields.
async fn widen_configuration(db: &TestDb) {
    for (table, column) in
        [("tools", "definition"), ("calendars", "rules"), ("assistant_versions", "compiled")]
    {
        let texts = seed::query_texts(db, &format!("select distinct {column} from {table}")).await;
        assert!(!texts.is_empty(), "{table}");
        for text in texts {
            let mut value: Value = serde_json::from_str(&text).unwrap();
            widen(&mut value);
            let [old, new] = [text, value.to_string()].map(|text| text.replace('\'', "''"));
            seed::execute(db, &format!("update {table} set {column} = '{new}' where {column} = '{old}'"))
                .await;
        }
    }
}

/// Starts this version on the database of the next one.
async fn start_this_version(program: &Program, key: &str) -> ServerProcess {
    // With a key in its file the server prints the whole banner, for which the sandbox waits.
    let data = program.sandbox.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("demo.key"), key).unwrap();
    let mut env: Vec<_> = program.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.push(("REJOINDER_STORE__MIGRATE", "true"));
    program.sandbox.start_server_with_env(&env).await
}

/// Uses both APIs, and a tool with a stored configuration.
async fn use_both_apis(server: &ServerProcess, key: &str) {
    let path = format!("/api/conversations/{WIDGET}/messages");
    let question = json!({ "message": "What times are free for a demo next week?" });
    let answer = server.http.post(&path, &question).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json()["function_calls"][0]["name"],
        "check_calendar_availability",
        "{}",
        answer.text()
    );

    let message = json!({ "sender_id": "u", "sender_type": "user", "text": "Hello" });
    let sent = server.http.post("/v1/messages", &message).bearer(key).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let con = sent.json()["data"]["conversation_id"].as_str().unwrap().to_owned();
    wait_for("the reply", async || {
        let path = format!("/v1/conversations/{con}/messages");
        let messages = server.http.get(&path).bearer(key).send().await.json();
        let messages = messages["data"]["items"].as_array().unwrap().clone();
        messages.iter().any(|message| message["sender_type"] == "assistant").then_some(())
    })
    .await;

    for path in ["/v1/tools", "/v1/calendars", "/v1/events", "/v1/ledger"] {
        let listed = server.http.get(path).bearer(key).send().await;
        assert_eq!(listed.status, 200, "{path}: {}", listed.text());
    }
}

both_backends!(
    async fn this_version_serves_beside_a_newer_one_that_has_widened_the_schema(db: TestDb) {
        migrate_to_next_version(&db).await;
        let newer = Setup::default().system_clock().start(&db).await;
        widen_configuration(&db).await;
        assert_eq!(newer.post_message(WIDGET, "Hi").send().await.status, 200);
        let key = newer.keys.full.clone();
        // SQLite has one process.
        let newer: Option<TestServer> = if db.backend() == Backend::Sqlite {
            newer.stop().await;
            None
        } else {
            Some(newer)
        };

        let program = Program::on(&db);
        let older = start_this_version(&program, &key).await;
        use_both_apis(&older, &key).await;

        if let Some(newer) = newer {
            assert_eq!(newer.post_message(WIDGET, "Hi again").send().await.status, 200);
            newer.stop().await;
        }
        assert_eq!(older.terminate().await.code(), Some(0));
    }
);

both_backends!(
    async fn the_floor_an_edited_migration_and_a_failed_one_keep_this_version_from_starting(db: TestDb) {
        migrate_to_next_version(&db).await;
        let program = Program::on(&db);
        let migrated = program.run(&["migrate"]);

        change(&db, &program, "update schema_floor set oldest_binary = 1000").await;
        let below_floor = program.refusal("store");
        let not_migrated = program.run(&["migrate"]);
        change(&db, &program, "update schema_floor set oldest_binary = 2").await;

        change(&db, &program, "update _sqlx_migrations set success = false where version = 9999").await;
        let failed_halfway = program.refusal("store");
        change(&db, &program, "update _sqlx_migrations set success = true where version = 9999").await;

        let edit = "update _sqlx_migrations set checksum = \
            (select checksum from _sqlx_migrations where version = 2) where version = 1";
        change(&db, &program, edit).await;
        let edited = program.run(&["serve"]);

        assert!(migrated.status.success(), "{}", migrated.stderr);
        assert!(below_floor.contains("migrated by a newer version"), "{below_floor}");
        assert!(not_migrated.stderr.contains("migrated by a newer version"), "{}", not_migrated.stderr);
        assert!(
            failed_halfway.contains("the migration 9999 of the database has failed halfway"),
            "{failed_halfway}"
        );
        assert_eq!(edited.status.code(), Some(1));
        assert!(edited.stderr.contains("previously applied but has been modified"), "{}", edited.stderr);
    }
);
