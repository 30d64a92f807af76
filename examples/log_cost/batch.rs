//! A shard that commits batches one after another, with the statements of the server's writer.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use rejoinder::store::{Conn, Db};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::seed::{Tenant, on_conn};

const TEXT: &str =
    "Where is my order? I have been waiting for it since Tuesday, and nobody has told me anything.";
const NOW: i64 = 1_767_225_600_000_000;

/// The source of an event's position in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// No log is written.
    None,
    /// The counter in the workspace's state, which is locked in any case.
    Counter,
    /// A process-wide sequence; represents every method that needs no lock.
    Sequence,
}

pub(crate) struct Shard {
    db: Db,
    tenants: Vec<Tenant>,
    batch: usize,
    log: Log,
}

/// A message and its event.
struct Row {
    tenant: Tenant,
    id: Uuid,
    event: Uuid,
    position: i64,
    cursor: i64,
}

impl Shard {
    pub(crate) fn new(db: Db, tenants: Vec<Tenant>, batch: usize, log: Log) -> Self {
        Self { db, tenants, batch, log }
    }

    /// Commits batches until `end`, and returns the number of their messages.
    pub(crate) async fn run(self, end: Instant) -> anyhow::Result<usize> {
        let mut messages = 0;
        let mut at = 0;
        while Instant::now() < end {
            let count = self.batch.min(self.tenants.len());
            let mut named: Vec<_> = self.tenants.iter().cycle().skip(at).take(count).copied().collect();
            named.sort_unstable_by_key(|tenant| tenant.workspace);
            at = (at + count) % self.tenants.len();
            self.commit(&named).await?;
            messages += self.batch;
        }
        Ok(messages)
    }

    async fn commit(&self, named: &[Tenant]) -> anyhow::Result<()> {
        let mut tx = self.db.begin().await?;
        let cursors = lock(tx.conn(), "workspace_state", "workspace_id", "next_cursor", named).await?;
        let positions = lock(tx.conn(), "conversations", "id", "next_position", named).await?;
        let rows: Vec<Row> = (0..self.batch)
            .map(|nth| {
                let (place, step) = (nth % named.len(), i64::try_from(nth / named.len()).unwrap_or(0));
                Row {
                    tenant: named[place],
                    id: Uuid::now_v7(),
                    event: Uuid::now_v7(),
                    position: positions[place] + step,
                    cursor: cursors[place] + step,
                }
            })
            .collect();
        let more = i64::try_from(self.batch / named.len())?;
        insert_messages(tx.conn(), &rows).await?;
        count_up(tx.conn(), "conversations", "id", "next_position", named, more).await?;
        match self.log {
            Log::None => {}
            Log::Counter => {
                count_up(tx.conn(), "workspace_state", "workspace_id", "next_cursor", named, more).await?;
                insert_events(tx.conn(), &rows, |row| row.cursor).await?;
            }
            Log::Sequence => insert_events(tx.conn(), &rows, |_| sequence()).await?,
        }
        Ok(tx.commit().await?)
    }
}

/// A unique number that needs no row lock.
fn sequence() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1 << 40);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn id_of(tenant: &Tenant, table: &str) -> Uuid {
    if table == "conversations" { tenant.conversation } else { tenant.workspace }
}

/// Locks a row of each tenant, in the order of workspaces, and reads one of its columns.
async fn lock(
    conn: Conn<'_>,
    table: &str,
    key: &str,
    column: &str,
    named: &[Tenant],
) -> anyhow::Result<Vec<i64>> {
    let lock = conn.row_lock();
    let rows: Vec<(i64,)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(column).push(" from ").push(table).push(" where (workspace_id, ").push(key).push(") in (");
        query.push_values(named, |mut values, tenant| {
            values.push_bind(tenant.workspace).push_bind(id_of(tenant, table));
        });
        query.push(") order by workspace_id").push(lock);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|(number,)| number).collect())
}

async fn count_up(
    conn: Conn<'_>,
    table: &str,
    key: &str,
    column: &str,
    named: &[Tenant],
    more: i64,
) -> anyhow::Result<()> {
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("update ");
        query.push(table).push(" set ").push(column).push(" = ").push(column).push(" + new.column3 from (");
        query.push_values(named, |mut values, tenant| {
            values.push_bind(tenant.workspace).push_bind(id_of(tenant, table)).push_bind(more);
        });
        query.push(") as new where workspace_id = new.column1 and ").push(key).push(" = new.column2");
        query.build().execute(c).await?;
    });
    Ok(())
}

async fn insert_messages(conn: Conn<'_>, rows: &[Row]) -> anyhow::Result<()> {
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "insert into messages (workspace_id, conversation_id, position, id, sender_type, sender_id, text, created_at) ",
        );
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.tenant.workspace).push_bind(row.tenant.conversation);
            values.push_bind(row.position).push_bind(row.id);
            values.push_bind("user").push_bind("usr_82hd92").push_bind(TEXT).push_bind(NOW);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}

async fn insert_events(conn: Conn<'_>, rows: &[Row], cursor: impl Fn(&Row) -> i64) -> anyhow::Result<()> {
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "insert into events (workspace_id, cursor, id, type, conversation_id, body, created_at) ",
        );
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.tenant.workspace).push_bind(cursor(row)).push_bind(row.event);
            values.push_bind("message.created").push_bind(row.tenant.conversation);
            values.push_bind(body(row)).push_bind(NOW);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}

/// A body with the length of a real event.
fn body(row: &Row) -> String {
    format!(
        r#"{{"id":"evt_{}","type":"message.created","created_at":"2026-03-15T14:22:11Z","cursor":"{}","data":{{"conversation_id":"con_{}","message":{{"id":"msg_{}","sender_id":"usr_82hd92","sender_type":"user","text":"{TEXT}","created_at":"2026-03-15T14:22:11Z"}}}}}}"#,
        row.event.simple(),
        row.cursor,
        row.tenant.conversation.simple(),
        row.id.simple(),
    )
}
