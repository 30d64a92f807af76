//! The open turns of all workspaces: counted for the metrics, and listed after a restore.

use std::time::Duration;

use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::turn::{Turn, TurnState};
use crate::store::{Conn, StoreError, on_conn, store_now};

/// How many open turns are counted at most, so that a large backlog costs no more than a range of its index. The oldest
/// ones are counted.
pub const MAX_COUNTED: i64 = 10_000;

/// The open turns in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTurns {
    pub state: TurnState,
    pub count: i64,
    /// Time since the admission of the oldest one; zero if there is none.
    pub oldest_age: Duration,
}

/// The open turns by state, of all processes. States without turns are not listed.
pub async fn count(mut conn: Conn<'_>, limit: i64, clock: &dyn Clock) -> Result<Vec<OpenTurns>, StoreError> {
    const COUNT: &str = "select state, count(*), min(admitted_at) from ( \
        select state, admitted_at from turns where state in ('waiting', 'queued', 'running') \
        order by admitted_at limit $1) as oldest group by state";
    let now = store_now(conn.reborrow(), clock).await?;
    let counted: Vec<(TurnState, i64, Micros)> =
        on_conn!(conn, |c| sqlx::query_as(COUNT).bind(limit).fetch_all(c).await?);
    let open = |(state, count, oldest): (_, _, Micros)| {
        let oldest_age = now.since(oldest);
        OpenTurns { state, count, oldest_age }
    };
    Ok(counted.into_iter().map(open).collect())
}

/// The oldest open turns, of all workspaces.
pub async fn list(conn: Conn<'_>, limit: i64) -> Result<Vec<Turn>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        turn_columns!(),
        " from turns where state in ('waiting', 'queued', 'running') order by admitted_at limit $1"
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(limit).fetch_all(c).await?))
}

/// At most `limit` conversations of a workspace with open turns.
pub async fn list_conversations(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    limit: i64,
) -> Result<Vec<ConversationId>, StoreError> {
    const LIST: &str = "select distinct conversation_id from turns where workspace_id = $1 \
        and state in ('waiting', 'queued', 'running') order by conversation_id limit $2";
    let rows: Vec<(ConversationId,)> =
        on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
