//! Creates the workspaces that batches are written to, each with one conversation.

use rejoinder::store::{Conn, Db};
use sqlx::QueryBuilder;
use uuid::Uuid;

/// A workspace and its conversation.
#[derive(Clone, Copy)]
pub(crate) struct Tenant {
    pub(crate) workspace: Uuid,
    pub(crate) conversation: Uuid,
}

/// Runs the same statements on either database.
macro_rules! on_conn {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            rejoinder::store::Conn::Postgres($c) => $body,
            rejoinder::store::Conn::Sqlite($c) => $body,
        }
    };
}
pub(crate) use on_conn;

/// Creates `count` new tenants.
pub(crate) async fn tenants(db: &Db, count: usize) -> anyhow::Result<Vec<Tenant>> {
    let mut tenants: Vec<_> =
        (0..count).map(|_| Tenant { workspace: Uuid::now_v7(), conversation: Uuid::now_v7() }).collect();
    tenants.sort_unstable_by_key(|tenant| tenant.workspace);
    let mut tx = db.begin().await?;
    for tenant in &tenants {
        insert(tx.conn(), tenant).await?;
    }
    tx.commit().await?;
    Ok(tenants)
}

async fn insert(mut conn: Conn<'_>, tenant: &Tenant) -> anyhow::Result<()> {
    let Tenant { workspace, conversation } = *tenant;
    let slug = workspace.simple().to_string();
    on_conn!(conn.reborrow(), |c| {
        let mut query = QueryBuilder::new(
            "insert into workspaces (id, slug, name, auto_create_conversations, price_widget, price_test, \
             price_api, allow_hosts, created_at) values (",
        );
        query.push_bind(workspace).push(", ").push_bind(slug).push(", 'x', true, 0, 0, 0, '', 0)");
        query.build().execute(c).await?;
    });
    for (table, columns, rest) in [
        (
            "workspace_state",
            "workspace_id, balance, next_cursor, next_ledger_number, open_turns, day, day_test_turns, \
             day_spent, low_notified",
            "0, 1, 1, 0, 0, 0, 0, false",
        ),
        (
            "assistants",
            "workspace_id, id, slug, name, current_version, pause_on_agent_message, from_file, created_at",
            "@, 'x', 'x', 1, false, true, 0",
        ),
        (
            "conversations",
            "workspace_id, id, assistant_id, kind, ai_enabled, created_at, next_position, open_turns, spent, \
             key_variables, visitor_variables",
            "@, @, 'api', true, 0, 1, 0, 0, '{}', '{}'",
        ),
    ] {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into ");
            query.push(table).push(" (").push(columns).push(") values (").push_bind(workspace).push(", ");
            for (nth, part) in rest.split('@').enumerate() {
                if nth > 0 {
                    // The assistant has the id of its conversation.
                    query.push_bind(conversation);
                }
                query.push(part);
            }
            query.push(")");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
