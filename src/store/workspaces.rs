//! Workspaces: their settings, and the row of each that the writer locks.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::workspace::{Pricing, Workspace, WorkspaceState};

const COLUMNS: &str = "id, slug, name, auto_create_conversations, default_assistant_id, price_widget, \
    price_test, price_api, balance_low, allow_hosts";

#[derive(sqlx::FromRow)]
struct WorkspaceRow {
    id: WorkspaceId,
    slug: String,
    name: String,
    auto_create_conversations: bool,
    default_assistant_id: Option<AssistantId>,
    price_widget: Money,
    price_test: Money,
    price_api: Money,
    balance_low: Option<Money>,
    allow_hosts: String,
}

impl From<WorkspaceRow> for Workspace {
    fn from(row: WorkspaceRow) -> Self {
        Self {
            id: row.id,
            slug: row.slug,
            name: row.name,
            auto_create_conversations: row.auto_create_conversations,
            default_assistant: row.default_assistant_id,
            pricing: Pricing { widget: row.price_widget, test: row.price_test, api: row.price_api },
            balance_low: row.balance_low,
            allow_hosts: row.allow_hosts.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

#[derive(sqlx::FromRow)]
struct StateRow {
    workspace_id: WorkspaceId,
    balance: Money,
    next_cursor: i64,
    next_ledger_number: i64,
    open_turns: i64,
    day: i64,
    day_test_turns: i64,
    day_spent: Money,
    low_notified: bool,
}

impl From<StateRow> for (WorkspaceId, WorkspaceState) {
    fn from(row: StateRow) -> Self {
        let state = WorkspaceState {
            balance: row.balance,
            next_cursor: row.next_cursor,
            next_ledger_number: row.next_ledger_number,
            open_turns: row.open_turns,
            day: row.day,
            day_test_turns: row.day_test_turns,
            day_spent: row.day_spent,
            low_notified: row.low_notified,
        };
        (row.workspace_id, state)
    }
}

/// A workspace by its slug.
pub async fn find_by_slug(conn: Conn<'_>, slug: &str) -> Result<Option<Workspace>, StoreError> {
    let found: Option<WorkspaceRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from workspaces where slug = ").push_bind(slug);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Workspace::from))
}

/// The named workspaces' settings.
pub async fn settings(conn: Conn<'_>, ids: &BTreeSet<WorkspaceId>) -> Result<Vec<Workspace>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<WorkspaceRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from workspaces where id in (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Workspace::from).collect())
}

/// How many workspaces there are.
pub async fn count(conn: Conn<'_>) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from workspaces";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).fetch_one(c).await?);
    Ok(count)
}

/// The balance as it stands, without a lock: to show, never to decide on.
pub async fn balance(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Option<Money>, StoreError> {
    const BALANCE: &str = "select balance from workspace_state where workspace_id = $1";
    let found: Option<(Money,)> =
        on_conn!(conn, |c| sqlx::query_as(BALANCE).bind(workspace).fetch_optional(c).await?);
    Ok(found.map(|(balance,)| balance))
}

/// Makes a workspace, or gives the one of this slug its new settings; its state is made with it.
pub async fn put(mut conn: Conn<'_>, workspace: &Workspace, now: Micros) -> Result<(), StoreError> {
    const STATE: &str = "insert into workspace_state (workspace_id, balance, next_cursor, next_ledger_number, \
        open_turns, day, day_test_turns, day_spent, low_notified) values ($1, 0, 1, 1, 0, $2, 0, 0, $3) \
        on conflict (workspace_id) do nothing";
    let hosts = workspace.allow_hosts.join(" ");
    on_conn!(conn.reborrow(), |c| {
        let mut query = QueryBuilder::new("insert into workspaces (");
        query.push(COLUMNS).push(", created_at) values (");
        let mut values = query.separated(", ");
        values.push_bind(workspace.id).push_bind(&workspace.slug).push_bind(&workspace.name);
        values.push_bind(workspace.auto_create_conversations).push_bind(workspace.default_assistant);
        values.push_bind(workspace.pricing.widget).push_bind(workspace.pricing.test);
        values.push_bind(workspace.pricing.api).push_bind(workspace.balance_low).push_bind(hosts);
        values.push_bind(now);
        query.push(
            ") on conflict (id) do update set name = excluded.name, \
             auto_create_conversations = excluded.auto_create_conversations, \
             default_assistant_id = excluded.default_assistant_id, price_widget = excluded.price_widget, \
             price_test = excluded.price_test, price_api = excluded.price_api, \
             balance_low = excluded.balance_low, allow_hosts = excluded.allow_hosts",
        );
        query.build().execute(c).await?;
    });
    on_conn!(conn, |c| {
        sqlx::query(STATE).bind(workspace.id).bind(now.day()).bind(false).execute(c).await?;
    });
    Ok(())
}

/// Locks and reads the states of the named workspaces, in order of their ids: always the first locks.
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
    Ok(rows.into_iter().map(Into::into).collect())
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
