//! The journal of a turn: its model answers and its calls, step by step.

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::journal::JournalRow;
use crate::domain::turn::TurnRef;
use crate::store::{Conn, StoreError, bind_chunks, on_conn};

/// The whole journal of a turn, in order.
pub async fn list(conn: Conn<'_>, turn: TurnRef) -> Result<Vec<JournalRow>, StoreError> {
    const LIST: &str = "select step, position, attempt, started_at, finished_at, content, result from journal \
        where workspace_id = $1 and turn_id = $2 order by step, position";
    type Row = (i64, i64, i64, Micros, Option<Micros>, String, Option<String>);
    let rows: Vec<Row> =
        on_conn!(conn, |c| sqlx::query_as(LIST).bind(turn.workspace).bind(turn.turn).fetch_all(c).await?);
    let row = |(step, position, attempt, started_at, finished_at, content, result): Row| JournalRow {
        turn,
        step,
        position,
        attempt,
        started_at,
        finished_at,
        content,
        result,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Keeps rows. One that is there already was written by a commit whose outcome was unknown.
pub async fn insert(mut conn: Conn<'_>, rows: &[JournalRow]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 10) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into journal (workspace_id, turn_id, step, position, conversation_id, attempt, started_at, \
                 finished_at, content, result) ",
            );
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.turn.workspace).push_bind(row.turn.turn).push_bind(row.step);
                values.push_bind(row.position).push_bind(row.turn.conversation).push_bind(row.attempt);
                values.push_bind(row.started_at).push_bind(row.finished_at);
                values.push_bind(&row.content).push_bind(&row.result);
            });
            query.push(" on conflict (workspace_id, turn_id, step, position) do nothing");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// Keeps the results of calls that were started. The first result counts.
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
