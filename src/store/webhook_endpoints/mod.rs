//! Webhook endpoints.

pub mod archived;

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::event::{EventType, Subscriber};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::domain::seal::SealedSecret;
use crate::domain::webhook_endpoint::{DisabledReason, Endpoint, PreviousSecret};
use crate::store::{Conn, StoreError, bind_chunks, on_conn};

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
    secret: SealedSecret,
    previous_secret: Option<SealedSecret>,
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
            types: parse_types(&row.types),
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
fn parse_types(words: &str) -> Vec<EventType> {
    words.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn join_types(types: &[EventType]) -> String {
    types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ")
}

/// The endpoints of the named workspaces that take events now.
pub async fn subscribers(
    conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
) -> Result<Vec<(WorkspaceId, Subscriber)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(WorkspaceId, EndpointId, String)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "select workspace_id, id, types from webhook_endpoints \
             where enabled and archived_at is null and workspace_id in (",
        );
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(") order by workspace_id, id");
        query.build_query_as().fetch_all(c).await?
    });
    let subscriber = |(workspace, endpoint, words): (WorkspaceId, EndpointId, String)| {
        (workspace, Subscriber { endpoint, types: parse_types(&words) })
    };
    Ok(rows.into_iter().map(subscriber).collect())
}

/// All endpoints of the named workspaces, archived ones too.
pub async fn list_by_workspaces(
    conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
) -> Result<Vec<Endpoint>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EndpointRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from webhook_endpoints where workspace_id in (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Endpoint::from).collect())
}

/// The named endpoints, archived ones too: for whoever sends to them.
pub async fn find_many(
    conn: Conn<'_>,
    ids: &[(WorkspaceId, EndpointId)],
) -> Result<Vec<Endpoint>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EndpointRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from webhook_endpoints where (workspace_id, id) in (");
        query.push_values(ids, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(")");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Endpoint::from).collect())
}

/// At most `limit` endpoints that are in use, after one, in order of age.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: Option<EndpointId>,
    limit: i64,
) -> Result<Vec<Endpoint>, StoreError> {
    let rows: Vec<EndpointRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from webhook_endpoints where archived_at is null and workspace_id = ");
        query.push_bind(workspace);
        if let Some(after) = after {
            query.push(" and id > ").push_bind(after);
        }
        query.push(" order by id limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Endpoint::from).collect())
}

pub async fn insert(mut conn: Conn<'_>, rows: &[&Endpoint]) -> Result<(), StoreError> {
    for rows in bind_chunks(rows, 16) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into webhook_endpoints (");
            query.push(COLUMNS).push(") ");
            query.push_values(rows, |mut values, row| {
                let previous = row.previous.as_ref();
                values.push_bind(row.workspace).push_bind(row.id).push_bind(&row.slug);
                values.push_bind(&row.description).push_bind(&row.url).push_bind(join_types(&row.types));
                values.push_bind(&row.secret).push_bind(previous.map(|previous| &previous.secret));
                values.push_bind(previous.map(|previous| previous.until)).push_bind(row.enabled);
                values.push_bind(row.disabled_reason).push_bind(row.failing_since);
                values.push_bind(row.from_file).push_bind(row.archived_at).push_bind(row.created_at);
                values.push_bind(row.updated_at);
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// Failures are written beside the workspace's lock: here they are only forgotten, by what is enabled again
/// and by a new URL.
pub async fn update(mut conn: Conn<'_>, rows: &[&Endpoint]) -> Result<(), StoreError> {
    const UPDATE: &str = "update webhook_endpoints set slug = $1, description = $2, url = $3, types = $4, \
        secret = $5, previous_secret = $6, previous_secret_until = $7, enabled = $8, disabled_reason = $9, \
        failing_since = case when ($8 and not enabled) or url <> $3 then null else failing_since end, \
        from_file = $10, archived_at = $11, updated_at = $12 where workspace_id = $13 and id = $14";
    for row in rows {
        let previous = row.previous.as_ref();
        on_conn!(conn.reborrow(), |c| {
            let query = sqlx::query(UPDATE).bind(&row.slug).bind(&row.description).bind(&row.url);
            let query = query.bind(join_types(&row.types)).bind(&row.secret);
            let query = query.bind(previous.map(|previous| &previous.secret));
            let query = query.bind(previous.map(|previous| previous.until)).bind(row.enabled);
            let query = query.bind(row.disabled_reason);
            let query = query.bind(row.from_file).bind(row.archived_at).bind(row.updated_at);
            query.bind(row.workspace).bind(row.id).execute(c).await?;
        });
    }
    Ok(())
}
