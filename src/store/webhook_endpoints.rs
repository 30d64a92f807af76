//! Webhook endpoints.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::event::{EventType, Subscriber};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::domain::seal::Sealed;
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint, PreviousSecret};

const COLUMNS: &str = "workspace_id, id, slug, description, url, types, secret, previous_secret, \
    previous_secret_until, enabled, disabled_reason, failing_since, from_file, archived_at, created_at, \
    updated_at";

#[derive(sqlx::FromRow)]
struct EndpointRow {
    workspace_id: WorkspaceId,
    id: EndpointId,
    slug: Option<String>,
    description: Option<String>,
    url: String,
    types: String,
    secret: Sealed,
    previous_secret: Option<Sealed>,
    previous_secret_until: Option<Micros>,
    enabled: bool,
    disabled_reason: Option<DisabledReason>,
    failing_since: Option<Micros>,
    from_file: bool,
    archived_at: Option<Micros>,
    created_at: Micros,
    updated_at: Micros,
}

impl From<EndpointRow> for Endpoint {
    fn from(row: EndpointRow) -> Self {
        let previous = row.previous_secret.zip(row.previous_secret_until);
        Self {
            workspace: row.workspace_id,
            id: row.id,
            slug: row.slug,
            description: row.description,
            url: row.url,
            types: types(&row.types),
            secret: row.secret,
            previous: previous.map(|(secret, until)| PreviousSecret { secret, until }),
            enabled: row.enabled,
            disabled_reason: row.disabled_reason,
            failing_since: row.failing_since,
            from_file: row.from_file,
            archived_at: row.archived_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Words that this version does not know are left out.
fn types(words: &str) -> Vec<EventType> {
    words.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

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
            "select workspace_id, id, types from webhook_endpoints \
             where enabled and archived_at is null and workspace_id in (",
        );
        let mut list = query.separated(", ");
        for id in named {
            list.push_bind(*id);
        }
        query.push(") order by workspace_id, id");
        query.build_query_as().fetch_all(c).await?
    });
    let subscriber = |(workspace, endpoint, words): (WorkspaceId, EndpointId, String)| {
        (workspace, Subscriber { endpoint, types: types(&words) })
    };
    Ok(rows.into_iter().map(subscriber).collect())
}

/// The named endpoints, archived ones too: for whoever sends to them.
pub async fn find_many(
    conn: Conn<'_>,
    named: &[(WorkspaceId, EndpointId)],
) -> Result<Vec<Endpoint>, StoreError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EndpointRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from webhook_endpoints where (workspace_id, id) in (");
        query.push_values(named, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Endpoint::from).collect())
}
