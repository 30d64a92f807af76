//! The database handle, its migrations and its errors.

use std::collections::BTreeSet;

use rejoinder::domain::ids::WidgetUuid;
use rejoinder::store::{Conn, StoreError, conversations};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::server::{TestServer, WIDGET};
use crate::support::{seed, store};

both_backends!(
    async fn migrating_twice_changes_nothing(db: TestDb) {
        let db = store::open(&db).await;

        db.migrate().await.unwrap();

        db.check_schema().await.unwrap();
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_transaction_on_postgres_loses_its_locks() {
    let db = store::postgres().await;
    let store = store::open(&db).await;
    let mut tx = store.begin().await.unwrap();
    let Conn::Postgres(conn) = tx.conn() else { panic!("a PostgreSQL") };

    let set: (String, String) = sqlx::query_as(
        "select current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')",
    )
    .fetch_one(conn)
    .await
    .unwrap();

    assert_eq!(set, ("5s".to_owned(), "2s".to_owned()));
}

/// Uses both APIs, so that the statements of requests and turns are prepared on the server's connections.
async fn use_both_apis(server: &TestServer) {
    for _ in 0..3 {
        let created = server.create_conversation().await;
        let con = server.conversation_id(&created).await;
        let message =
            json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });
        let sent = [
            server.post_message(WIDGET, "Hi").send().await,
            server.request("GET", &format!("/api/conversations/{created}")).send().await,
            server.enqueue(message.to_string()).send().await,
            server.get("/v1/conversations").await,
            server.get(&format!("/v1/conversations/{con}")).await,
            server.get("/v1/events").await,
            server.get("/v1/ledger").await,
            server.get("/v1/calendars").await,
            server.get("/v1/tools").await,
        ];
        for answer in sent {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        server.wait_for_messages(&con, 3).await;
    }
}

both_backends!(
    async fn a_running_process_works_on_a_schema_that_a_newer_one_has_widened(db: TestDb) {
        let server = TestServer::start(&db).await;
        use_both_apis(&server).await;
        let store = store::open(&db).await;
        let mut connection = store.acquire_read().await.unwrap();
        let link = WidgetUuid(WIDGET.parse().unwrap());
        let before = conversations::find_by_link(connection.conn(), link).await.unwrap();

        for table in seed::query_texts(&db, seed::list_tables_statement(db.backend())).await {
            let widen = format!("alter table {table} add column added_later integer not null default 0");
            seed::execute(&db, &widen).await;
        }

        use_both_apis(&server).await;
        let after = conversations::find_by_link(connection.conn(), link).await.unwrap();
        assert_eq!(after.unwrap().conversation.id, before.unwrap().conversation.id);
    }
);

async fn fault_of(conn: Conn<'_>, statement: &str) -> StoreError {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement));
    let fault = match conn {
        Conn::Postgres(conn) => statement.execute(conn).await.map(drop).unwrap_err(),
        Conn::Sqlite(conn) => statement.execute(conn).await.map(drop).unwrap_err(),
    };
    StoreError::from(fault)
}

both_backends!(
    async fn the_connection_survives_a_transaction_that_the_database_ended(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let w = seed::literal(&db, seeded.workspace.0);
        let store = store::open(&db).await;
        // As on a full disk: the transaction ends without a message to its owner.
        let end = match db.backend() {
            Backend::Sqlite => {
                format!(
                    "insert or rollback into workspace_state values ({w}, 0, 1, 1, 0, 0, 0, 0, false, 1, 0, 0, 0)"
                )
            }
            Backend::Postgres => "select pg_terminate_backend(pg_backend_pid())".to_owned(),
        };
        let mut tx = store.begin().await.unwrap();
        fault_of(tx.conn(), &end).await;
        drop(tx);

        store.begin().await.unwrap().commit().await.unwrap();
    }
);

both_backends!(
    async fn data_errors_differ_from_an_unavailable_database(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let w = seed::literal(&db, seeded.workspace.0);
        let stranger = seed::literal(&db, uuid::Uuid::from_u128(7));
        let store = store::open(&db).await;
        let statements = [
            format!(
                "insert into api_keys (hash, id, workspace_id, name, prefix, scopes, created_at) \
                 values ('', {stranger}, {stranger}, '', '', '', 0)"
            ),
            format!("insert into workspace_state values ({w}, 0, 1, 1, 0, 0, 0, 0, false, 1, 0, 0, 0)"),
            format!("update workspace_state set balance = -1 where workspace_id = {w}"),
            format!("insert into ledger values ({w}, 1, null, 1, 1, null, null, 0)"),
        ];
        for statement in statements {
            let mut tx = store.begin().await.unwrap();
            let fault = fault_of(tx.conn(), &statement).await;
            assert!(matches!(fault, StoreError::Data(_)), "{statement}: {fault:?}");
        }

        if db.backend() == Backend::Postgres {
            let mut tx = store.begin().await.unwrap();
            let fault = fault_of(tx.conn(), "select pg_terminate_backend(pg_backend_pid())").await;
            assert!(fault.is_transient(), "{fault:?}");
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_rows_are_found_by_their_index() {
    let db = store::sqlite().await;
    // As in a batch, the rows are joined with a list of keys.
    let new =
        "with new (k1, k2, k3) as (select * from (values (?, ?, ?), (?, ?, ?)) where column1 is not null)";
    let statements = [
        "select id from new cross join turns where workspace_id = k1 and id = k2 order by id",
        "select id from new cross join turns where state in ('waiting', 'queued', 'running') \
         and workspace_id = k1 and conversation_id = k2",
        "select id from new cross join conversations where workspace_id = k1 and id = k2",
        "select id from new cross join messages where workspace_id = k1 and id = k2",
        "select body from new cross join idempotency where workspace_id = k1 and scope = k2 and key = k3",
        "update turns set state = new.k3 from new where turns.workspace_id = k1 and turns.id = k2",
    ];
    let store = store::open(&db).await;
    for statement in statements {
        let mut read = store.acquire_read().await.unwrap();
        let Conn::Sqlite(conn) = read.conn() else { panic!("a SQLite") };
        let explain = format!("explain query plan {new} {statement}");
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(explain)).fetch_all(conn).await.unwrap();
        let plan: Vec<_> = plan.into_iter().map(|(.., step)| step).collect();
        let table = statement
            .split_whitespace()
            .skip_while(|word| !["join", "update"].contains(word))
            .nth(1)
            .unwrap();
        assert!(
            plan.iter().any(|step| step.starts_with(&format!("SEARCH {table} USING"))),
            "{statement}: {plan:#?}"
        );
    }
}

/// The columns of a migrated database as `table.column`, with a `?` if they are nullable.
async fn columns(db: &TestDb) -> BTreeSet<String> {
    let store = store::open(db).await;
    let mut read = store.acquire_read().await.unwrap();
    let rows: Vec<(String, String, bool)> = match read.conn() {
        Conn::Postgres(conn) => sqlx::query_as(
            "select table_name::text, column_name::text, is_nullable = 'YES' from information_schema.columns \
             where table_schema = current_schema()",
        )
        .fetch_all(conn)
        .await
        .unwrap(),
        Conn::Sqlite(conn) => sqlx::query_as(
            "select t.name, c.name, not c.\"notnull\" and c.pk = 0 from sqlite_schema as t, pragma_table_info(t.name) as c \
             where t.type = 'table' and t.name not like 'sqlite\\_%' escape '\\'",
        )
        .fetch_all(conn)
        .await
        .unwrap(),
    };
    // PostgreSQL indexes words in a column, SQLite in an FTS5 table with shadow tables.
    let is_shared = |table: &str, column: &str| {
        !table.starts_with("_sqlx")
            && !table.starts_with("passage_search")
            && !table.starts_with("message_search")
            && !matches!(
                (table, column),
                ("passages" | "message_index", "search") | ("message_index", "entry")
            )
    };
    let shared = rows.into_iter().filter(|(table, column, _)| is_shared(table, column));
    let name =
        |(table, column, is_nullable)| format!("{table}.{column}{}", if is_nullable { "?" } else { "" });
    shared.map(name).collect()
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let postgres = columns(&store::postgres().await).await;
    let sqlite = columns(&store::sqlite().await).await;

    let only =
        |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(only(&postgres, &sqlite), Vec::<String>::new(), "only on PostgreSQL");
    assert_eq!(only(&sqlite, &postgres), Vec::<String>::new(), "only on SQLite");
    assert!(postgres.len() > 100, "{postgres:?}");
}
