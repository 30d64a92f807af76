//! Workspaces: their settings, and the state of each, which the writer locks.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::retention::{from_micros, to_micros};
use super::{Columns, Conn, Statements, StoreError, columns, fetch, from_row, on_conn, store_now};
use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::WorkspaceId;
use crate::domain::money::Money;
use crate::domain::retention::Retention;
use crate::domain::token_budget::TokenBudgets;
use crate::domain::workspace::{Pricing, Workspace, WorkspaceState};

/// Workspaces by their ids.
pub(super) const WORKSPACE_KEY: Columns<WorkspaceId> = columns!(|id| { "key_workspace": *id });

macro_rules! workspace_columns {
    () => {
        "id, slug, name, auto_create_conversations, default_assistant_id, price_widget, price_test, price_api, \
         balance_low, allow_hosts, tokens_per_conversation, tokens_per_day, retention_conversations, \
         retention_journals, retention_bookings, from_file, created_at, suspended_at, deleted_at"
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
    token_budgets: TokenBudgets {
        per_conversation: row.try_get("tokens_per_conversation")?,
        per_day: row.try_get("tokens_per_day")?,
    },
    retention: Retention {
        conversations: from_micros(row.try_get("retention_conversations")?),
        journals: from_micros(row.try_get("retention_journals")?),
        bookings: from_micros(row.try_get("retention_bookings")?),
    },
    from_file: row.try_get("from_file")?,
    created_at: row.try_get("created_at")?,
    suspended_at: row.try_get("suspended_at")?,
    deleted_at: row.try_get("deleted_at")?,
});

from_row!(WorkspaceState, |row| Self {
    balance: row.try_get("balance")?,
    next_cursor: row.try_get("next_cursor")?,
    next_ledger_number: row.try_get("next_ledger_number")?,
    open_turns: row.try_get("open_turns")?,
    day: row.try_get("day")?,
    day_test_turns: row.try_get("day_test_turns")?,
    day_spent: row.try_get("day_spent")?,
    day_tokens: row.try_get("day_tokens")?,
    low_notified: row.try_get("low_notified")?,
    config_version: row.try_get("config_version")?,
    untouched: row.try_get("untouched")?,
});

#[derive(sqlx::FromRow)]
struct StateRow {
    workspace_id: WorkspaceId,
    #[sqlx(flatten)]
    state: WorkspaceState,
    /// The database's time; null on SQLite.
    now: Option<Micros>,
}

/// A workspace that is not removed.
pub async fn find(conn: Conn<'_>, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
    const FIND: &str =
        concat!("select ", workspace_columns!(), " from workspaces where id = $1 and removed_at is null");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await?))
}

/// A workspace with its balance.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WorkspaceBalance {
    #[sqlx(flatten)]
    pub workspace: Workspace,
    pub balance: Money,
}

/// The first workspaces after an id that are not removed, in the order of their ids, each with its balance.
pub async fn list_after(
    conn: Conn<'_>,
    after: Option<WorkspaceId>,
    limit: i64,
) -> Result<Vec<WorkspaceBalance>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        workspace_columns!(),
        ", balance from workspaces join workspace_state on workspace_id = id \
         where removed_at is null and id > $1 order by id limit $2"
    );
    let after = after.unwrap_or(WorkspaceId(Uuid::nil()));
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(after).bind(limit).fetch_all(c).await?))
}

/// At most `limit` suspended workspaces with open turns.
pub async fn list_suspended_with_turns(conn: Conn<'_>, limit: i64) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str = "select id from workspaces join workspace_state on workspace_id = id \
        where suspended_at is not null and removed_at is null and open_turns > 0 order by id limit $1";
    let rows: Vec<(WorkspaceId,)> = on_conn!(conn, |c| sqlx::query_as(LIST).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// At most `limit` deleted workspaces without open turns that are not removed yet.
pub async fn list_deleted(conn: Conn<'_>, limit: i64) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str = "select id from workspaces join workspace_state on workspace_id = id \
        where suspended_at is not null and removed_at is null and deleted_at is not null and open_turns = 0 \
        order by id limit $1";
    let rows: Vec<(WorkspaceId,)> = on_conn!(conn, |c| sqlx::query_as(LIST).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// A workspace by its slug.
pub async fn find_by_slug(conn: Conn<'_>, slug: &str) -> Result<Option<Workspace>, StoreError> {
    const FIND: &str = concat!("select ", workspace_columns!(), " from workspaces where slug = $1");
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(slug).fetch_optional(c).await?))
}

#[derive(sqlx::FromRow)]
struct TokensRow {
    #[sqlx(flatten)]
    workspace: Workspace,
    day: i64,
    day_tokens: i64,
    /// The database's time; null on SQLite.
    now: Option<Micros>,
}

/// A workspace with its tokens of the current day, read without a lock.
pub async fn find_with_tokens(
    conn: Conn<'_>,
    id: WorkspaceId,
    clock: &dyn Clock,
) -> Result<Option<(Workspace, i64)>, StoreError> {
    macro_rules! find {
        ($now:literal) => {
            concat!(
                "select ",
                workspace_columns!(),
                ", day, day_tokens, ",
                $now,
                " as now from workspaces join workspace_state on workspace_id = id where id = $1"
            )
        };
    }
    let find = conn.pick(find!("store_now()"), find!("null"));
    let row: Option<TokensRow> = on_conn!(conn, |c| sqlx::query_as(find).bind(id).fetch_optional(c).await?);
    Ok(row.map(|TokensRow { workspace, day, day_tokens, now }| {
        let today = now.unwrap_or_else(|| clock.now()).day();
        (workspace, if day == today { day_tokens } else { 0 })
    }))
}

/// The settings of workspaces.
pub async fn settings(conn: Conn<'_>, ids: &BTreeSet<WorkspaceId>) -> Result<Vec<Workspace>, StoreError> {
    const LIST: &str =
        concat!("select ", workspace_columns!(), " from new cross join workspaces where id = key_workspace");
    fetch(conn, &WORKSPACE_KEY, ids, LIST).await
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
pub async fn put(mut conn: Conn<'_>, workspace: &Workspace) -> Result<(), StoreError> {
    const PUT: &str = concat!(
        "insert into workspaces (",
        workspace_columns!(),
        ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
         on conflict (id) do update set name = excluded.name, \
         auto_create_conversations = excluded.auto_create_conversations, \
         default_assistant_id = excluded.default_assistant_id, price_widget = excluded.price_widget, \
         price_test = excluded.price_test, price_api = excluded.price_api, \
         balance_low = excluded.balance_low, allow_hosts = excluded.allow_hosts, \
         tokens_per_conversation = excluded.tokens_per_conversation, tokens_per_day = excluded.tokens_per_day, \
         retention_conversations = excluded.retention_conversations, \
         retention_journals = excluded.retention_journals, retention_bookings = excluded.retention_bookings, \
         suspended_at = excluded.suspended_at, deleted_at = excluded.deleted_at"
    );
    const PUT_STATE: &str = "insert into workspace_state (workspace_id, balance, next_cursor, next_ledger_number, \
        open_turns, day, day_test_turns, day_spent, low_notified) values ($1, 0, 1, 1, 0, $2, 0, 0, $3) \
        on conflict (workspace_id) do nothing";
    on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(PUT).bind(workspace.id).bind(&workspace.slug).bind(&workspace.name);
        let query = query.bind(workspace.auto_create_conversations).bind(workspace.default_assistant);
        let query = query.bind(workspace.pricing.widget).bind(workspace.pricing.test);
        let query = query.bind(workspace.pricing.api).bind(workspace.balance_low);
        let query = query.bind(workspace.allow_hosts.join(" "));
        let budgets = workspace.token_budgets;
        let query = query.bind(budgets.per_conversation).bind(budgets.per_day);
        let retention = workspace.retention;
        let query = query.bind(to_micros(retention.conversations)).bind(to_micros(retention.journals));
        let query = query.bind(to_micros(retention.bookings)).bind(workspace.from_file);
        let query = query.bind(workspace.created_at).bind(workspace.suspended_at);
        query.bind(workspace.deleted_at).execute(c).await?;
    });
    on_conn!(conn.reborrow(), |c| {
        sqlx::query(PUT_STATE)
            .bind(workspace.id)
            .bind(workspace.created_at.day())
            .bind(false)
            .execute(c)
            .await?;
    });
    advance_config_version(conn, workspace.id).await
}

/// Locks and reads the states of workspaces, in the order of their ids. A transaction takes these locks first.
pub async fn lock(
    conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
) -> Result<Vec<(WorkspaceId, WorkspaceState)>, StoreError> {
    let rows = lock_rows(conn, ids).await?;
    Ok(rows.into_iter().map(|row| (row.workspace_id, row.state)).collect())
}

/// Like [`lock`], with the [time](store_now) after the last lock.
pub async fn lock_with_time(
    mut conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
    clock: &dyn Clock,
) -> Result<(Vec<(WorkspaceId, WorkspaceState)>, Micros), StoreError> {
    let rows = lock_rows(conn.reborrow(), ids).await?;
    let now = match rows.iter().filter_map(|row| row.now).max() {
        Some(now) => now,
        None => store_now(conn, clock).await?,
    };
    Ok((rows.into_iter().map(|row| (row.workspace_id, row.state)).collect(), now))
}

async fn lock_rows(conn: Conn<'_>, ids: &BTreeSet<WorkspaceId>) -> Result<Vec<StateRow>, StoreError> {
    macro_rules! lock {
        ($now:literal, $lock:literal) => {
            concat!(
                // The time is outside the subquery, so that it is read after the lock.
                "select locked.*, ",
                $now,
                " as now from (select workspace_id, balance, next_cursor, next_ledger_number, open_turns, day, \
                 day_test_turns, day_spent, day_tokens, low_notified, config_version, untouched \
                 from new cross join workspace_state where workspace_id = key_workspace order by workspace_id",
                $lock,
                ") as locked"
            )
        };
    }
    let lock = conn.pick(lock!("store_now()", " for no key update of workspace_state"), lock!("null", ""));
    fetch(conn, &WORKSPACE_KEY, ids, lock).await
}

/// Marks the settings, webhook endpoints or assistants of a workspace as changed. Every function that writes them calls this; its
/// caller has locked the workspace's state.
pub(super) async fn advance_config_version(conn: Conn<'_>, id: WorkspaceId) -> Result<(), StoreError> {
    const ADVANCE: &str =
        "update workspace_state set config_version = config_version + 1 where workspace_id = $1";
    on_conn!(conn, |c| {
        sqlx::query(ADVANCE).bind(id).execute(c).await?;
    });
    Ok(())
}

pub fn update_states(
    statements: &mut Statements,
    rows: &[(WorkspaceId, WorkspaceState)],
) -> Result<(), StoreError> {
    const ROWS: Columns<(WorkspaceId, WorkspaceState)> = columns!(|row| {
        "workspace_id": row.0,
        "balance": row.1.balance,
        "next_cursor": row.1.next_cursor,
        "next_ledger_number": row.1.next_ledger_number,
        "open_turns": row.1.open_turns,
        "day": row.1.day,
        "day_test_turns": row.1.day_test_turns,
        "day_spent": row.1.day_spent,
        "day_tokens": row.1.day_tokens,
        "low_notified": row.1.low_notified,
        "config_version": row.1.config_version,
        "untouched": row.1.untouched,
    });
    const UPDATE: &str = "update workspace_state set balance = new.balance, next_cursor = new.next_cursor, \
        next_ledger_number = new.next_ledger_number, open_turns = new.open_turns, day = new.day, \
        day_test_turns = new.day_test_turns, day_spent = new.day_spent, day_tokens = new.day_tokens, \
        low_notified = new.low_notified, config_version = new.config_version, untouched = new.untouched \
        from new where workspace_state.workspace_id = new.workspace_id";
    statements.add(&ROWS, rows, UPDATE)
}
