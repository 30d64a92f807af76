//! Webhook endpoints.

pub mod archived;

use std::collections::BTreeSet;

use crate::domain::event::{EventType, Subscriber};
use crate::domain::ids::{EndpointId, WorkspaceId};
use crate::domain::seal::SealedSecret;
use crate::domain::webhook_endpoint::{Endpoint, PreviousSecret};
use crate::store::resource::{Resource, resource_page};
use crate::store::workspaces::WORKSPACE_KEY;
use crate::store::{Conn, StoreError, fetch, from_row, insert_row, insert_rows, key_columns, on_conn};

insert_row!(Endpoint, "webhook_endpoints", endpoint_columns, |endpoint| {
    "workspace_id": endpoint.workspace,
    "id": endpoint.id,
    "slug": &endpoint.slug,
    "description": &endpoint.description,
    "url": &endpoint.url,
    "types": join_types(&endpoint.types),
    "secret": &endpoint.secret,
    "previous_secret": endpoint.previous.as_ref().map(|previous| &previous.secret),
    "previous_secret_until": endpoint.previous.as_ref().map(|previous| previous.until),
    "enabled": endpoint.enabled,
    "disabled_reason": endpoint.disabled_reason,
    "failing_since": endpoint.failing_since,
    "from_file": endpoint.from_file,
    "archived_at": endpoint.archived_at,
    "created_at": endpoint.created_at,
    "updated_at": endpoint.updated_at,
});

from_row!(Endpoint, |row| {
    let previous: Option<SealedSecret> = row.try_get("previous_secret")?;
    let previous = previous.zip(row.try_get("previous_secret_until")?);
    Self {
        workspace: row.try_get("workspace_id")?,
        id: row.try_get("id")?,
        slug: row.try_get("slug")?,
        description: row.try_get("description")?,
        url: row.try_get("url")?,
        types: parse_types(row.try_get("types")?),
        secret: row.try_get("secret")?,
        previous: previous.map(|(secret, until)| PreviousSecret { secret, until }),
        enabled: row.try_get("enabled")?,
        disabled_reason: row.try_get("disabled_reason")?,
        failing_since: row.try_get("failing_since")?,
        from_file: row.try_get("from_file")?,
        archived_at: row.try_get("archived_at")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    }
});

/// Event types that this version does not know are left out.
fn parse_types(words: &str) -> Vec<EventType> {
    words.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn join_types(types: &[EventType]) -> String {
    types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ")
}

/// The endpoints of workspaces that receive events.
pub async fn subscribers(
    conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
) -> Result<Vec<(WorkspaceId, Subscriber)>, StoreError> {
    const LIST: &str = "select workspace_id, id, types from new cross join webhook_endpoints \
        where workspace_id = key_workspace and enabled and archived_at is null order by workspace_id, id";
    let rows: Vec<(WorkspaceId, EndpointId, String)> = fetch(conn, &WORKSPACE_KEY, ids, LIST).await?;
    let subscriber = |(workspace, endpoint, words): (WorkspaceId, EndpointId, String)| {
        (workspace, Subscriber { endpoint, types: parse_types(&words) })
    };
    Ok(rows.into_iter().map(subscriber).collect())
}

/// All endpoints of workspaces, archived ones included.
pub async fn list_by_workspaces(
    conn: Conn<'_>,
    ids: &BTreeSet<WorkspaceId>,
) -> Result<Vec<Endpoint>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        endpoint_columns!(),
        " from new cross join webhook_endpoints where workspace_id = key_workspace"
    );
    fetch(conn, &WORKSPACE_KEY, ids, LIST).await
}

/// Endpoints by id, archived ones included.
pub async fn find_many(
    conn: Conn<'_>,
    ids: &[(WorkspaceId, EndpointId)],
) -> Result<Vec<Endpoint>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        endpoint_columns!(),
        " from new cross join webhook_endpoints where workspace_id = key_workspace and id = key_id"
    );
    fetch(conn, &key_columns(), ids, FIND).await
}

impl Resource for Endpoint {
    type Id = EndpointId;
    const FIND: &'static str = concat!(
        "select ",
        endpoint_columns!(),
        " from webhook_endpoints where archived_at is null and workspace_id = $1 and id = $2"
    );
    const LIST: &'static str = concat!(
        "select ",
        endpoint_columns!(),
        ", candidates from ",
        resource_page!(
            "webhook_endpoints",
            "octet_length(url) + octet_length(types) + coalesce(octet_length(description), 0)"
        ),
        " cross join webhook_endpoints where workspace_id = $1 and id = page_id order by id"
    );

    fn id(&self) -> EndpointId {
        self.id
    }
}

pub async fn insert(conn: Conn<'_>, rows: &[&Endpoint]) -> Result<(), StoreError> {
    insert_rows(conn, rows.iter().copied(), "").await?;
    Ok(())
}

/// Updates endpoints under their workspace's lock. Failures are recorded without that lock, so `failing_since` is
/// only ever cleared here: when an endpoint is enabled again or gets a new URL.
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
