//! The journal of a turn: the model's answers and its tool calls, step by step.

use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::journal::JournalRow;
use crate::domain::turn::TurnRef;
use crate::store::{
    Columns, Conn, PageRow, PageRows, ReadLimit, Statements, StoreError, columns, fetch, from_row,
    insert_row, on_conn, page_of,
};

insert_row!(JournalRow, "journal", journal_columns, |row| {
    "workspace_id": row.turn.workspace,
    "turn_id": row.turn.turn,
    "step": row.step,
    "position": row.position,
    "conversation_id": row.turn.conversation,
    "attempt": row.attempt,
    "started_at": row.started_at,
    "finished_at": row.finished_at,
    "content": &row.content,
    "result": &row.result,
});

from_row!(JournalRow, |row| Self {
    turn: TurnRef {
        workspace: row.try_get("workspace_id")?,
        conversation: row.try_get("conversation_id")?,
        turn: row.try_get("turn_id")?,
    },
    step: row.try_get("step")?,
    position: row.try_get("position")?,
    attempt: row.try_get("attempt")?,
    started_at: row.try_get("started_at")?,
    finished_at: row.try_get("finished_at")?,
    content: row.try_get("content")?,
    result: row.try_get("result")?,
});

/// The journal of a turn, in order.
pub async fn list(conn: Conn<'_>, turn: TurnRef) -> Result<Vec<JournalRow>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        journal_columns!(),
        " from journal where workspace_id = $1 and turn_id = $2 order by step, position"
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(turn.workspace).bind(turn.turn).fetch_all(c).await?))
}

/// The first rows of a turn's journal, in order.
pub async fn list_first(
    conn: Conn<'_>,
    turn: TurnRef,
    limit: ReadLimit,
) -> Result<PageRows<JournalRow>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        journal_columns!(),
        ", candidates from ",
        page_of!(
            keys: (
                "select step as page_step, position as page_position, \
                 octet_length(content) + coalesce(octet_length(result), 0) as row_size \
                 from journal where workspace_id = $1 and turn_id = $2 order by step, position limit $3 + 1"
            ),
            order: ("page_step, page_position"),
            fits: "nth <= $3 and (bytes <= $4 or nth = 1)"
        ),
        " cross join journal where workspace_id = $1 and turn_id = $2 and step = page_step \
         and position = page_position order by step, position"
    );
    let rows: Vec<PageRow<JournalRow>> = on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(turn.workspace).bind(turn.turn);
        query.bind(limit.rows).bind(limit.bytes).fetch_all(c).await?
    });
    Ok(rows.into())
}

/// The calls of some turns, in order: the last ones that have at most `max_bytes` together. A result has its first `max_result`
/// characters, each of which counts as four bytes.
pub async fn list_calls(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    turns: &[TurnId],
    max_bytes: i64,
    max_result: i64,
) -> Result<Vec<JournalRow>, StoreError> {
    const KEYS: Columns<(WorkspaceId, TurnId, i64, i64)> = columns!(|key| {
        "key_workspace": key.0,
        "key_id": key.1,
        "key_bytes": key.2,
        "key_result": key.3,
    });
    // `key_id` is `turn_id`: SQLite would read the journal from that turn on, instead of each turn by its id.
    const LIST: &str = "select workspace_id, turn_id, step, position, conversation_id, attempt, started_at, \
        finished_at, content, substr(result, 1, cast(key_result as integer)) as result \
        from new cross join journal where workspace_id = key_workspace and turn_id = key_id and position > 0 \
        and (key_id, step, position) >= (select call_turn, call_step, call_position from ( \
            select turn_id as call_turn, step as call_step, position as call_position, key_bytes as max_bytes, \
                sum(octet_length(content) + case when octet_length(result) > 4 * key_result then 4 * key_result \
                    else coalesce(octet_length(result), 0) end) \
                    over (order by turn_id desc, step desc, position desc rows unbounded preceding) as bytes \
            from new cross join journal where workspace_id = key_workspace and turn_id = key_id and position > 0 \
            ) as summed where bytes <= max_bytes order by call_turn, call_step, call_position limit 1) \
        order by turn_id, step, position";
    let keys: Vec<_> = turns.iter().map(|turn| (workspace, *turn, max_bytes, max_result)).collect();
    fetch(conn, &KEYS, &keys, LIST).await
}

/// Inserts rows. A row that already exists was written by a commit whose outcome was unknown; it stays.
pub fn insert(statements: &mut Statements, rows: &[JournalRow]) -> Result<(), StoreError> {
    statements.insert(rows, " on conflict (workspace_id, turn_id, step, position) do nothing")
}

/// Writes the results of calls. If a call already has a result, that one stays.
pub fn finish(statements: &mut Statements, rows: &[JournalRow]) -> Result<(), StoreError> {
    const ROWS: Columns<JournalRow> = columns!(|row| {
        "workspace_id": row.turn.workspace,
        "turn_id": row.turn.turn,
        "step": row.step,
        "position": row.position,
        "finished_at": row.finished_at,
        "result": &row.result,
    });
    const FINISH: &str = "update journal set finished_at = new.finished_at, result = new.result from new \
        where journal.workspace_id = new.workspace_id and journal.turn_id = new.turn_id \
        and journal.step = new.step and journal.position = new.position and journal.result is null";
    statements.add(&ROWS, rows, FINISH)
}
