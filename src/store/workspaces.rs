//! Workspaces: their settings, and the state of each, which the writer locks.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, from_row, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::WorkspaceId;
use crate::domain::money::Money;
use crate::domain::workspace::{Pricing, Workspace, WorkspaceState};

macro_rules! workspace_columns {
    () => {
        "id, slug, name, auto_create_conversations, default_assistant_id, price_widget, price_test, price_api, \
         balance_low, allow_hosts"
    };
}

from_row!(Workspace, |row| Self {
    id: row.try_get("id")?,
    slug: row.try_get("slug")?,
    name: row.try_get("name")?,
    auto_create_conversations: row.try_get("auto_create_conversations")?,
    default_assistant: row.try_get("default_assistant_id")?,
    pricing: Pricing {
        widget: row.try_get("price_widget")?,
        test: row.try_get("price_test")?,
        api: row.try_get("price_api")?,
    },
    balance_low: row.try_get("balance_low")?,
    allow_hosts: row.try_get::<&str, _>("allow_hosts")?.split_whitespace().map(str::to_owned).collect(),
});

from_row!(WorkspaceState, |row| Self {
    balance: row.try_get("balance")?,
    next_cursor: row.try_get("next_cursor")?,
    next_ledger_number: row.try_get("next_ledger_number")?,
    open_turns: row.try_get("open_turns")?,
    day: row.try_get("day")?,
    day_test_turns: row.try_get("day_test_turns")?,
    day_spent: row.try_get("day_spent")?,
    low_notified: row.try_get("low_notified")?,
});

#[derive(sqlx::FromRow)]
struct StateRow {
    workspace_id: WorkspaceId,
    #[sqlx(flatten)]
    state: WorkspaceState,
}

/// A workspace by its slug.
pub async fn find_by_slug(conn: Conn<'_>, slug: &str) -> Result<Option<Workspace>, StoreError> {
    const FIND: &str = concat!("select ", workspace_columns!(), " from workspaces where slug = $1");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(slug).fetch_optional(c).await?))
}

/// The settings of workspaces.
pub async fn settings(conn: Conn<'_>, ids: &BTreeSet<WorkspaceId>) -> Result<Vec<Workspace>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query =
            QueryBuilder::new(concat!("select ", workspace_columns!(), " from workspaces where id in ("));
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    }))
}

/// The number of workspaces.
pub async fn count(conn: Conn<'_>) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from workspaces";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).fetch_one(c).await?);
    Ok(count)
}

/// The current balance, read without a lock: for display, never for a decision.
pub async fn balance(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Option<Money>, StoreError> {
    const BALANCE: &str = "select balance from workspace_state where workspace_id = $1";
    let found: Option<(Money,)> =
        on_conn!(conn, |c| sqlx::query_as(BALANCE).bind(workspace).fetch_optional(c).await?);
    Ok(found.map(|(balance,)| balance))
}

/// Inserts a workspace with its state, or updates its settings.
pub async fn put(mut conn: Conn<'_>, workspace: &Workspace, now: Micros) -> Result<(), StoreError> {
    const PUT: &str = concat!(
        "insert into workspaces (",
        workspace_columns!(),
        ", created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         on conflict (id) do update set name = excluded.name, \
         auto_create_conversations = excluded.auto_create_conversations, \
         default_assistant_id = excluded.default_assistant_id, price_widget = excluded.price_widget, \
         price_test = excluded.price_test, price_api = excluded.price_api, \
         balance_low = excluded.balance_low, allow_hosts = excluded.allow_hosts"
    );
    const PUT_STATE: &str = "insert into workspace_state (workspace_id, balance, next_cursor, next_ledger_number, \
        open_turns, day, day_test_turns, day_spent, low_notified) values ($1, 0, 1, 1, 0, $2, 0, 0, $3) \
        on conflict (workspace_id) do nothing";
    on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(PUT).bind(workspace.id).bind(&workspace.slug).bind(&workspace.name);
        let query = query.bind(workspace.auto_create_conversations).bind(workspace.default_assistant);
        let query = query.bind(workspace.pricing.widget).bind(workspace.pricing.test);
        let query = query.bind(workspace.pricing.api).bind(workspace.balance_low);
        query.bind(workspace.allow_hosts.join(" ")).bind(now).execute(c).await?;
    });
    on_conn!(conn, |c| {
        sqlx::query(PUT_STATE).bind(workspace.id).bind(now.day()).bind(false).execute(c).await?;
    });
    Ok(())
}

/// Locks and reads the states of workspaces, in the order of their ids. A transaction takes these locks first.
pub async fn lock(
    conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
) -> Result<Vec<(WorkspaceId, WorkspaceState)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let lock = conn.row_lock();
    let rows: Vec<StateRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select workspace_id, balance, next_cursor, next_ledger_number, open_turns, day, day_test_turns, \
             day_spent, low_notified from workspace_state where workspace_id in (",
        );
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(") order by workspace_id").push(lock);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(|row| (row.workspace_id, row.state)).collect())
}

pub async fn update_states(conn: Conn<'_>, rows: &[(WorkspaceId, WorkspaceState)]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "update workspace_state set balance = new.column2, next_cursor = new.column3, \
             next_ledger_number = new.column4, open_turns = new.column5, day = new.column6, \
             day_test_turns = new.column7, day_spent = new.column8, low_notified = new.column9 from (",
        );
        query.push_values(rows, |mut values, (id, row)| {
            values.push_bind(*id).push_bind(row.balance).push_bind(row.next_cursor);
            values.push_bind(row.next_ledger_number).push_bind(row.open_turns).push_bind(row.day);
            values.push_bind(row.day_test_turns).push_bind(row.day_spent).push_bind(row.low_notified);
        });
        query.push(") as new where workspace_id = new.column1");
        query.build().execute(c).await?;
    });
    Ok(())
}
