//! Webhook endpoints, and the events on their way to them.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn, portions};
use crate::domain::event::{Delivery, Subscriber};
use crate::domain::ids::{EndpointId, WorkspaceId};

/// The endpoints of the named workspaces that take events now.
pub(super) async fn subscribers(
    conn: Conn<'_>,
    named: &BTreeSet<WorkspaceId>,
) -> Result<Vec<(WorkspaceId, Subscriber)>, StoreError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(WorkspaceId, EndpointId, String)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select workspace_id, id, types from webhook_endpoints where enabled and workspace_id in (",
        );
        let mut list = query.separated(", ");
        for id in named {
            list.push_bind(*id);
        }
        query.push(") order by workspace_id, id");
        query.build_query_as().fetch_all(c).await?
    });
    let subscriber = |(workspace, endpoint, types): (WorkspaceId, EndpointId, String)| {
        let types = types.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (workspace, Subscriber { endpoint, types })
    };
    Ok(rows.into_iter().map(subscriber).collect())
}

pub(super) async fn insert(mut conn: Conn<'_>, rows: &[Delivery]) -> Result<(), StoreError> {
    for rows in portions(rows, 10) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into deliveries (workspace_id, endpoint_id, cursor, id, conversation_id, state, fence, \
                 attempts, not_before, created_at) ",
            );
            query.push_values(rows, |mut values, row| {
                values.push_bind(row.workspace).push_bind(row.endpoint).push_bind(row.cursor);
                values.push_bind(row.id).push_bind(row.conversation).push_bind("queued");
                values.push_bind(0_i64).push_bind(0_i64).push_bind(row.created_at).push_bind(row.created_at);
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}
