//! The list of a workspace's turns.

use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::domain::clock::{Micros, TimeRange};
use crate::domain::ids::{TurnId, WorkspaceId};
use crate::domain::turn::{Turn, TurnFilter};
use crate::store::{Conn, StoreError, on_conn};

/// How many turns a page looks at.
const SCANNED: i64 = 1000;
/// The time between the making of a turn's id and its admission, at most, by the clocks of two machines.
const SLACK_MILLIS: i64 = 60_000;

/// A page of turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnPage {
    pub rows: Vec<Turn>,
    /// After which turn the list goes on, unless it has ended.
    pub next: Option<TurnId>,
}

/// The smallest id that was made at a time.
fn first_id(millis: i64) -> TurnId {
    let millis = u64::try_from(millis).unwrap_or(0);
    TurnId(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
}

/// The ids that a filter leaves: from the first on, before the second.
fn id_range(filter: &TurnFilter) -> (TurnId, TurnId) {
    let TimeRange { after, before } = filter.created;
    let millis = |time: Micros| time.0.div_euclid(1000);
    let first =
        after.map_or(TurnId(Uuid::nil()), |after| first_id(millis(after).saturating_sub(SLACK_MILLIS)));
    let end = before.map(|before| first_id(millis(before).saturating_add(SLACK_MILLIS)));
    let end = end.into_iter().chain(filter.before).min();
    (first, end.unwrap_or(TurnId(Uuid::max())))
}

/// At most `limit` turns of the workspace that match, the newest first.
pub async fn list(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &TurnFilter,
    limit: usize,
) -> Result<TurnPage, StoreError> {
    let mut rows = list_matching(conn.reborrow(), workspace, filter, limit).await?;
    let next = if rows.len() > limit {
        rows.truncate(limit);
        rows.last().map(|last| last.id)
    } else {
        end_of_scan(conn, workspace, filter).await?
    };
    Ok(TurnPage { rows, next })
}

/// One turn more than the limit at most.
async fn list_matching(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &TurnFilter,
    limit: usize,
) -> Result<Vec<Turn>, StoreError> {
    let (first, end) = id_range(filter);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(concat!("select ", turn_columns!(), " from (select * from turns"));
        query.push(" where workspace_id = ").push_bind(workspace).push(" and id >= ").push_bind(first);
        query.push(" and id < ").push_bind(end);
        if let Some(conversation) = filter.conversation {
            query.push(" and conversation_id = ").push_bind(conversation);
        }
        query.push(" order by id desc limit ").push_bind(SCANNED);
        query.push(
            ") as scanned where exists (select 1 from conversations \
             where conversations.workspace_id = scanned.workspace_id \
             and conversations.id = scanned.conversation_id and deleted_at is null)",
        );
        if let Some(state) = filter.state {
            query.push(" and state = ").push_bind(state);
        }
        if let Some(api) = filter.api {
            query.push(" and api = ").push_bind(api);
        }
        for (comparison, bound) in [(" >= ", filter.created.after), (" < ", filter.created.before)] {
            if let Some(bound) = bound {
                query.push(" and admitted_at").push(comparison).push_bind(bound);
            }
        }
        query.push(" order by id desc limit ").push_bind(limit);
        query.build_query_as().persistent(false).fetch_all(c).await?
    }))
}

/// The last turn that a page has looked at, if there are others after it.
async fn end_of_scan(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &TurnFilter,
) -> Result<Option<TurnId>, StoreError> {
    let (first, end) = id_range(filter);
    let rows: Vec<(TurnId,)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select id from turns where workspace_id = ");
        query.push_bind(workspace).push(" and id >= ").push_bind(first).push(" and id < ").push_bind(end);
        if let Some(conversation) = filter.conversation {
            query.push(" and conversation_id = ").push_bind(conversation);
        }
        query.push(" order by id desc limit 2 offset ").push_bind(SCANNED - 1);
        query.build_query_as().persistent(false).fetch_all(c).await?
    });
    Ok(rows.first().filter(|_| rows.len() > 1).map(|(id,)| *id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_times_is_a_wider_range_of_ids() {
        let minute = 60_000_000;
        let created = TimeRange { after: Some(Micros(10 * minute)), before: Some(Micros(20 * minute)) };
        let id = |minutes: i64| first_id(minutes * 60_000);

        let (first, end) = id_range(&TurnFilter { created, ..TurnFilter::default() });
        let (_, from_cursor) =
            id_range(&TurnFilter { created, before: Some(id(12)), ..TurnFilter::default() });

        assert_eq!((first, end), (id(9), id(21)));
        assert_eq!(from_cursor, id(12));
        assert_eq!(id_range(&TurnFilter::default()), (TurnId(Uuid::nil()), TurnId(Uuid::max())));
    }
}
