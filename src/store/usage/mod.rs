//! Usage, counted from the events, the journal and the ledger of each workspace.
//!
//! Cursors of events and numbers of ledger entries are assigned under the lock of the workspace, so they follow the order of commits: the
//! part after the position of a workspace is complete, and is counted once, in one transaction with the new position. A turn counts with
//! the event of its end, after which its journal does not change. No request writes these rows while a message waits.

mod counter;

use std::fmt::Write as _;

use uuid::Uuid;

use self::counter::{Counter, list_events};
use crate::domain::ids::WorkspaceId;
use crate::domain::usage::{Figures, Group, MAX_ROWS, Period, UsageKey, UsageRow};
use crate::store::{
    Columns, Conn, StoreError, columns, fetch, from_row, insert_row, insert_rows, ledger, on_conn,
};

/// How many events, and how many ledger entries, are counted at once.
const PART: i64 = 256;

/// How many buckets one statement sums up.
const BUCKETS_AT_ONCE: usize = 256;

/// How far a workspace is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last event.
    pub event: i64,
    /// The last ledger entry.
    pub ledger: i64,
}

/// The next part of a workspace that is to be counted.
#[derive(Clone, Debug)]
pub struct Uncounted {
    workspace: WorkspaceId,
    from: Position,
    to: Position,
    rows: Vec<UsageRow>,
    /// Whether more follows.
    pub has_more: bool,
}

insert_row!(UsageRow, "usage_counts", |row| {
    "workspace_id": row.key.workspace,
    "period": row.key.start,
    "assistant_id": row.key.assistant,
    "key_id": row.key.key,
    "connection": &row.key.connection,
    "model": &row.key.model,
    "messages": row.figures.messages,
    "turns_completed": row.figures.turns_completed,
    "turns_failed": row.figures.turns_failed,
    "turns_discarded": row.figures.turns_discarded,
    "model_calls": row.figures.model_calls,
    "input_tokens": row.figures.input_tokens,
    "cached_tokens": row.figures.cached_tokens,
    "output_tokens": row.figures.output_tokens,
    "reasoning_tokens": row.figures.reasoning_tokens,
    "tool_calls": row.figures.tool_calls,
    "charged": row.figures.charged,
    "refunded": row.figures.refunded,
    "credited": row.figures.credited,
});

from_row!(UsageRow, |row| Self {
    key: UsageKey {
        start: row.try_get("period")?,
        workspace: row.try_get("workspace_id")?,
        assistant: row.try_get("assistant_id")?,
        key: row.try_get("key_id")?,
        connection: row.try_get("connection")?,
        model: row.try_get("model")?,
    },
    figures: Figures {
        messages: row.try_get("messages")?,
        turns_completed: row.try_get("turns_completed")?,
        turns_failed: row.try_get("turns_failed")?,
        turns_discarded: row.try_get("turns_discarded")?,
        model_calls: row.try_get("model_calls")?,
        input_tokens: row.try_get("input_tokens")?,
        cached_tokens: row.try_get("cached_tokens")?,
        output_tokens: row.try_get("output_tokens")?,
        reasoning_tokens: row.try_get("reasoning_tokens")?,
        tool_calls: row.try_get("tool_calls")?,
        charged: row.try_get("charged")?,
        refunded: row.try_get("refunded")?,
        credited: row.try_get("credited")?,
    },
});

/// The columns of figures.
const FIGURES: [&str; 13] = [
    "messages",
    "turns_completed",
    "turns_failed",
    "turns_discarded",
    "model_calls",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "tool_calls",
    "charged",
    "refunded",
    "credited",
];

/// Workspaces after this one that are not counted to their end, in the order of their ids.
pub async fn list_behind(
    conn: Conn<'_>,
    after: WorkspaceId,
    limit: i64,
) -> Result<Vec<WorkspaceId>, StoreError> {
    const BEHIND: &str = "select s.workspace_id from workspace_state s \
        left join usage_positions p on p.workspace_id = s.workspace_id where s.workspace_id > $1 \
        and (s.next_cursor - 1 > coalesce(p.event_cursor, 0) \
            or s.next_ledger_number - 1 > coalesce(p.ledger_number, 0)) order by s.workspace_id limit $2";
    let rows: Vec<(WorkspaceId,)> =
        on_conn!(conn, |c| sqlx::query_as(BEHIND).bind(after).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Reads the next uncounted part of a workspace; none if everything is counted.
pub async fn read_uncounted(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
) -> Result<Option<Uncounted>, StoreError> {
    // The end is read first, so that the rows up to it are committed when they are read below.
    const POSITION: &str = "select coalesce(p.event_cursor, 0), coalesce(p.ledger_number, 0), s.next_cursor - 1, \
        s.next_ledger_number - 1 from workspace_state s left join usage_positions p \
        on p.workspace_id = s.workspace_id where s.workspace_id = $1";
    let position: Option<(i64, i64, i64, i64)> =
        on_conn!(conn.reborrow(), |c| { sqlx::query_as(POSITION).bind(workspace).fetch_optional(c).await? });
    let Some((event, ledger_number, last_event, last_number)) = position else { return Ok(None) };
    let from = Position { event, ledger: ledger_number };
    if from.event >= last_event && from.ledger >= last_number {
        return Ok(None);
    }
    let events = list_events(conn.reborrow(), workspace, from.event).await?;
    let entries = ledger::list_after(conn.reborrow(), workspace, from.ledger, PART).await?;
    let is_whole = |count: usize| i64::try_from(count).is_ok_and(|count| count < PART);
    let (has_all_events, has_all_entries) = (is_whole(events.len()), is_whole(entries.len()));
    let event = events.last().map_or(from.event, |last| last.cursor);
    let to = Position {
        event: if has_all_events { event.max(last_event) } else { event },
        ledger: entries.last().map_or(from.ledger, |last| last.number),
    };
    let rows = Counter::read(conn, workspace, &events, &entries).await?;
    let has_more = !(has_all_events && has_all_entries);
    Ok(Some(Uncounted { workspace, from, to, rows, has_more }))
}

/// Counts a part. Returns false if another process has counted since it was read; then nothing is written.
pub async fn count(mut conn: Conn<'_>, uncounted: &Uncounted) -> Result<bool, StoreError> {
    // Not of a workspace that was removed meanwhile.
    const START: &str = "insert into usage_positions (workspace_id, event_cursor, ledger_number) \
        select workspace_id, 0, 0 from workspace_state where workspace_id = $1 on conflict (workspace_id) do nothing";
    const ADVANCE: &str = "update usage_positions set event_cursor = $2, ledger_number = $3 \
        where workspace_id = $1 and event_cursor = $4 and ledger_number = $5";
    let Uncounted { workspace, from, to, rows, .. } = uncounted;
    let advanced = on_conn!(conn.reborrow(), |c| {
        sqlx::query(START).bind(workspace).execute(&mut *c).await?;
        let advance = sqlx::query(ADVANCE).bind(workspace).bind(to.event).bind(to.ledger);
        advance.bind(from.event).bind(from.ledger).execute(c).await?.rows_affected()
    });
    if advanced == 0 {
        return Ok(false);
    }
    let sums =
        FIGURES.map(|figure| format!("{figure} = usage_counts.{figure} + excluded.{figure}")).join(", ");
    let on_conflict = format!(
        " on conflict (workspace_id, period, assistant_id, key_id, connection, model) do update set {sums}"
    );
    insert_rows(conn, rows, &on_conflict).await?;
    Ok(true)
}

/// A bucket of a query.
struct QueryRow {
    workspace: WorkspaceId,
    nil: Uuid,
    period: Period,
}

/// The figures of one workspace or of all, by bucket and group, in no order. It stops reading when there are more than [`MAX_ROWS`].
pub async fn sum(
    mut conn: Conn<'_>,
    workspace: Option<WorkspaceId>,
    buckets: &[Period],
    groups: &[Group],
) -> Result<Vec<UsageRow>, StoreError> {
    const BUCKETS: Columns<QueryRow> = columns!(|row| {
        "key_workspace": row.workspace,
        "key_nil": row.nil,
        "key_start": row.period.start,
        "key_end": row.period.end,
    });
    let nil = Uuid::nil();
    let of_workspace = workspace.unwrap_or(WorkspaceId(nil));
    let statement = sum_statement(workspace.is_some(), groups);
    let mut found = Vec::new();
    for buckets in buckets.chunks(BUCKETS_AT_ONCE) {
        let row = |period: &Period| QueryRow { workspace: of_workspace, nil, period: *period };
        let rows: Vec<_> = buckets.iter().map(row).collect();
        found.extend(fetch::<_, UsageRow>(conn.reborrow(), &BUCKETS, &rows, &statement).await?);
        if found.len() > MAX_ROWS {
            break;
        }
    }
    Ok(found)
}

fn sum_statement(is_of_one: bool, groups: &[Group]) -> String {
    let columns = [
        (Group::Workspace, "workspace_id", "key_nil"),
        (Group::Assistant, "assistant_id", "key_nil"),
        (Group::Key, "key_id", "key_nil"),
        (Group::Model, "connection", "''"),
        (Group::Model, "model", "''"),
    ];
    let mut statement = "select key_start as period".to_owned();
    let mut group_by = "key_start, key_nil".to_owned();
    // Writing to a String does not fail.
    for (group, column, none) in columns {
        if groups.contains(&group) {
            let _ = write!(statement, ", u.{column} as {column}");
            let _ = write!(group_by, ", u.{column}");
        } else {
            let _ = write!(statement, ", {none} as {column}");
        }
    }
    for figure in FIGURES {
        let _ = write!(statement, ", cast(sum(u.{figure}) as bigint) as {figure}");
    }
    let of_workspace = if is_of_one { "u.workspace_id = key_workspace and " } else { "" };
    let limit = MAX_ROWS + 1;
    let _ = write!(
        statement,
        " from new cross join usage_counts u where {of_workspace}u.period >= key_start and u.period < key_end \
         group by {group_by} limit {limit}"
    );
    statement
}
