//! The journal of a turn: the model's answers and its tool calls, step by step.

use sqlx::QueryBuilder;

use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::journal::JournalRow;
use crate::domain::turn::TurnRef;
use crate::store::{Conn, StoreError, from_row, insert_row, insert_rows, on_conn};

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

/// The calls of some turns, in order.
pub async fn list_calls(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    turns: &[TurnId],
) -> Result<Vec<JournalRow>, StoreError> {
    if turns.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query =
            QueryBuilder::new(concat!("select ", journal_columns!(), " from journal where workspace_id = "));
        query.push_bind(workspace).push(" and position > 0 and turn_id in (");
        let mut ids = query.separated(", ");
        for turn in turns {
            ids.push_bind(*turn);
        }
        query.push(") order by turn_id, step, position");
        query.build_query_as().fetch_all(c).await?
    }))
}

/// Inserts rows. A row that already exists was written by a commit whose outcome was unknown; it stays.
pub async fn insert(conn: Conn<'_>, rows: &[JournalRow]) -> Result<(), StoreError> {
    insert_rows(conn, rows, " on conflict (workspace_id, turn_id, step, position) do nothing").await?;
    Ok(())
}

/// Writes the results of calls. If a call already has a result, that one stays.
pub async fn finish(conn: Conn<'_>, rows: &[JournalRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query =
            QueryBuilder::new("update journal set finished_at = new.column5, result = new.column6 from (");
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.turn.workspace).push_bind(row.turn.turn).push_bind(row.step);
            values.push_bind(row.position).push_bind(row.finished_at).push_bind(&row.result);
        });
        query.push(
            ") as new where workspace_id = new.column1 and turn_id = new.column2 and step = new.column3 \
             and position = new.column4 and result is null",
        );
        query.build().execute(c).await?;
    });
    Ok(())
}
