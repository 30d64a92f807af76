//! Test data written directly into the database, and queries of its state.

use std::str::FromStr;

use rejoinder::domain::ids::{AssistantId, CalendarId, WorkspaceId};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use uuid::Uuid;

use super::db::{Backend, TestDb};

/// A workspace with one of each resource that admission reads.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    pub workspace: WorkspaceId,
    pub assistant: AssistantId,
    pub calendar: CalendarId,
}

/// Creates a workspace with this balance, in micro-dollars; a reply costs 10,000 in every type of conversation.
pub async fn workspace(db: &TestDb, balance: i64) -> Seed {
    let [workspace, assistant, calendar, endpoint] = std::array::from_fn(|_| Uuid::new_v4());
    let [w, a, c, e] = [workspace, assistant, calendar, endpoint].map(|id| literal(db, id));
    let slug = workspace.simple();
    execute(
        db,
        &format!(
            "insert into workspaces values ({w}, '{slug}', 'Test', true, null, 10000, 0, 10000, 15000, '', 0, null, null, null, null, null, null);
             insert into workspace_state values ({w}, {balance}, 1, 1, 0, 0, 0, 0, false, 1, 0, 0, 0);
             insert into assistants values ({w}, {a}, 'a', 'A', 1, false, true, null, 0);
             insert into assistant_versions values ({w}, {a}, 1, '{{}}', 0);
             insert into calendars values ({w}, {c}, 'c', '{{}}', true, null, 0);
             insert into webhook_endpoints values ({w}, {e}, 'e', null, 'http://127.0.0.1', '', '', null, null, \
             true, null, null, true, null, 0, 0);"
        ),
    )
    .await;
    if balance > 0 {
        let first = format!(
            "insert into ledger values ({w}, 1, 'top_up', {balance}, {balance}, null, 'seed', 0);
             update workspace_state set next_ledger_number = 2 where workspace_id = {w};"
        );
        execute(db, &first).await;
    }
    Seed {
        workspace: WorkspaceId(workspace),
        assistant: AssistantId(assistant),
        calendar: CalendarId(calendar),
    }
}

/// An id as an SQL literal.
pub fn literal(db: &TestDb, id: Uuid) -> String {
    match db.backend() {
        Backend::Postgres => format!("'{id}'"),
        Backend::Sqlite => format!("x'{}'", id.simple()),
    }
}

/// An SQL expression that generates an id.
pub fn random_id(db: &TestDb) -> &'static str {
    match db.backend() {
        Backend::Postgres => "gen_random_uuid()",
        Backend::Sqlite => "randomblob(16)",
    }
}

/// Runs statements on a new connection.
pub async fn execute(db: &TestDb, statements: &str) {
    let done = async {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements));
        if db.backend() == Backend::Postgres {
            let mut connection = PgConnectOptions::from_str(&db.url())?.connect().await?;
            statements.execute(&mut connection).await?;
            connection.close().await
        } else {
            let mut connection = SqliteConnectOptions::from_str(&db.url())?.connect().await?;
            statements.execute(&mut connection).await?;
            connection.close().await
        }
    };
    done.await.unwrap_or_else(|fault| panic!("{statements}: {fault}"));
}

/// Changes the configuration of workspaces, which processes cache by its version.
pub async fn configure(db: &TestDb, statements: &str) {
    let statements = statements.trim_end_matches(';');
    execute(db, &format!("{statements}; update workspace_state set config_version = config_version + 1"))
        .await;
}

/// The first column of each row, as text.
pub async fn query_texts(db: &TestDb, select: &str) -> Vec<String> {
    let query = sqlx::raw_sql(AssertSqlSafe(select));
    if db.backend() == Backend::Postgres {
        let mut connection = PgConnectOptions::from_str(&db.url()).unwrap().connect().await.unwrap();
        let rows = query.fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get_unchecked::<String, _>(0)).collect()
    } else {
        let mut connection = SqliteConnectOptions::from_str(&db.url()).unwrap().connect().await.unwrap();
        let rows = query.fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get_unchecked::<String, _>(0)).collect()
    }
}

/// The number that a query returns.
pub async fn query_number(db: &TestDb, select: &str) -> i64 {
    let found = query_texts(db, &format!("select cast(({select}) as text)")).await;
    found[0].parse().unwrap()
}

/// Lists the tables. It leaves out the migrations and the shadow tables of SQLite's full-text index.
pub fn list_tables_statement(backend: Backend) -> &'static str {
    match backend {
        Backend::Postgres => {
            "select table_name::text from information_schema.tables \
             where table_schema = current_schema() and table_name not like '\\_sqlx%' order by 1"
        }
        Backend::Sqlite => {
            "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' \
             and name not like '\\_sqlx%' escape '\\' and name not like 'passage\\_search%' escape '\\' order by 1"
        }
    }
}

/// Sets the time of `store_now()` of a PostgreSQL database to an SQL expression, in microseconds since 1970.
pub async fn set_store_clock(db: &TestDb, micros: &str) {
    if db.backend() == Backend::Postgres {
        let function = format!(
            "create or replace function store_now() returns bigint language sql volatile as $$ select {micros} $$"
        );
        execute(db, &function).await;
    }
}

/// Every row of every table: equal before and after an operation that changes nothing.
pub async fn contents(db: &TestDb) -> Vec<String> {
    let mut all = Vec::new();
    for table in query_texts(db, list_tables_statement(db.backend())).await {
        let row = match db.backend() {
            Backend::Postgres => "t::text".to_owned(),
            Backend::Sqlite => {
                let columns =
                    query_texts(db, &format!("select name from pragma_table_info('{table}')")).await;
                columns
                    .iter()
                    .map(|name| format!("quote(\"{name}\")"))
                    .collect::<Vec<_>>()
                    .join(" || ' ' || ")
            }
        };
        let rows = query_texts(db, &format!("select {row} from {table} t order by 1")).await;
        all.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    all
}

/// Checks the invariants of all workspaces.
pub async fn assert_invariants(db: &TestDb) {
    let broken = [
        (
            "the balance is the sum of the ledger",
            "select count(*) from workspace_state s where balance < 0 or balance <> \
            (select coalesce(sum(amount), 0) from ledger l where l.workspace_id = s.workspace_id)",
        ),
        (
            "ledger numbers have no gap",
            "select count(*) from workspace_state s where next_ledger_number - 1 <> \
            (select count(*) from ledger l where l.workspace_id = s.workspace_id)",
        ),
        (
            "cursors have no gap",
            "select count(*) from workspace_state s where next_cursor - 1 <> \
            (select count(*) from events e where e.workspace_id = s.workspace_id)",
        ),
        (
            "each event has its delivery",
            "select abs((select count(*) from events) - (select count(*) from deliveries))",
        ),
        (
            "positions have no gap",
            "select count(*) from conversations c where next_position - 1 <> \
            (select count(*) from messages m where m.workspace_id = c.workspace_id and m.conversation_id = c.id)",
        ),
        (
            "a conversation counts its open turns",
            "select count(*) from conversations c where open_turns <> \
            (select count(*) from turns t where t.workspace_id = c.workspace_id and t.conversation_id = c.id \
             and state in ('waiting', 'queued', 'running'))",
        ),
        (
            "a workspace counts its open turns",
            "select count(*) from workspace_state s where open_turns <> \
            (select count(*) from turns t where t.workspace_id = s.workspace_id \
             and state in ('waiting', 'queued', 'running'))",
        ),
        (
            "only the oldest open turn of a conversation is queued or running",
            "select count(*) from turns t where state in ('queued', 'running') and exists \
            (select 1 from turns o where o.workspace_id = t.workspace_id and o.conversation_id = t.conversation_id \
             and o.position < t.position and o.state in ('waiting', 'queued', 'running'))",
        ),
        (
            "the oldest open turn of a conversation is not waiting",
            "select count(*) from turns t where state = 'waiting' and not exists \
            (select 1 from turns o where o.workspace_id = t.workspace_id and o.conversation_id = t.conversation_id \
             and o.position < t.position and o.state in ('waiting', 'queued', 'running'))",
        ),
        (
            "a turn has an owner exactly while it runs",
            "select count(*) from turns where (state = 'running') <> (owner is not null)",
        ),
        (
            "a charge has a reply, a refund or an open turn",
            "select count(*) from turns t where price > 0 and \
            (case state when 'completed' then 1 when 'failed' then 0 when 'discarded' then 0 else 1 end) * price <> \
            -(select coalesce(sum(amount), 0) from ledger l where l.workspace_id = t.workspace_id and l.turn_id = t.id)",
        ),
        (
            "a completed turn has one reply",
            "select count(*) from turns t where (state = 'completed') <> (1 = \
            (select count(*) from messages m where m.workspace_id = t.workspace_id and m.turn_id = t.id and m.answers is not null))",
        ),
    ];
    for (what, count) in broken {
        assert_eq!(query_number(db, count).await, 0, "{what}");
    }
}
