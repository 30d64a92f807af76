//! Conversations, and the widget door's directory to them.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind};
use crate::domain::ids::{AssistantId, ConversationId, WidgetUuid, WorkspaceId};

const COLUMNS: &str = "workspace_id, id, kind, assistant_id, ai_enabled, created_at, ended_at, deleted_at, \
    next_position, open_turns, spent, key_variables, visitor_variables, metadata, external_identifier";

#[derive(sqlx::FromRow)]
struct ConversationRow {
    workspace_id: WorkspaceId,
    id: ConversationId,
    kind: ConversationKind,
    assistant_id: AssistantId,
    ai_enabled: bool,
    created_at: Micros,
    ended_at: Option<Micros>,
    deleted_at: Option<Micros>,
    next_position: i64,
    open_turns: i64,
    spent: i64,
    key_variables: String,
    visitor_variables: String,
    metadata: Option<String>,
    external_identifier: Option<String>,
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            workspace: row.workspace_id,
            id: row.id,
            kind: row.kind,
            assistant: row.assistant_id,
            ai_enabled: row.ai_enabled,
            created_at: row.created_at,
            ended_at: row.ended_at,
            deleted_at: row.deleted_at,
            next_position: row.next_position,
            open_turns: row.open_turns,
            spent: row.spent,
            key_variables: row.key_variables,
            visitor_variables: row.visitor_variables,
            metadata: row.metadata,
            external_identifier: row.external_identifier,
        }
    }
}

/// A conversation of the workspace that was not deleted.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<Conversation>, StoreError> {
    let found: Option<ConversationRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from conversations where workspace_id = ").push_bind(workspace);
        query.push(" and id = ").push_bind(id).push(" and deleted_at is null");
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Conversation::from))
}

/// The conversation that a widget UUID opens: the directory, then the row.
pub async fn find_by_link(mut conn: Conn<'_>, link: WidgetUuid) -> Result<Option<Conversation>, StoreError> {
    const FIND: &str = "select workspace_id, conversation_id from widget_links where id = $1";
    let target: Option<(WorkspaceId, ConversationId)> =
        on_conn!(conn.reborrow(), |c| sqlx::query_as(FIND).bind(link).fetch_optional(c).await?);
    match target {
        Some((workspace, id)) => find(conn, workspace, id).await,
        None => Ok(None),
    }
}

/// Where those of the links lead that are known, in whatever workspace.
pub async fn find_links(
    mut conn: Conn<'_>,
    links: &[WidgetUuid],
) -> Result<Vec<(WidgetUuid, WorkspaceId, ConversationId)>, StoreError> {
    const FIND: &str = "select id, workspace_id, conversation_id from widget_links where id = $1";
    let mut found = Vec::new();
    for link in links {
        let target: Option<(WidgetUuid, WorkspaceId, ConversationId)> =
            on_conn!(conn.reborrow(), |c| sqlx::query_as(FIND).bind(link).fetch_optional(c).await?);
        found.extend(target);
    }
    Ok(found)
}

/// Which conversations a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kind: Option<ConversationKind>,
    pub assistant: Option<AssistantId>,
    pub external_identifier: Option<String>,
    pub widget: Option<WidgetUuid>,
    /// Those made before this place: the last of the page before.
    pub before: Option<(Micros, ConversationId)>,
}

/// A page of the workspace's conversations, the newest first.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Conversation>, StoreError> {
    let rows: Vec<ConversationRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from conversations where workspace_id = ").push_bind(workspace);
        query.push(" and deleted_at is null");
        if let Some(kind) = filter.kind {
            query.push(" and kind = ").push_bind(kind);
        }
        if let Some(assistant) = filter.assistant {
            query.push(" and assistant_id = ").push_bind(assistant);
        }
        if let Some(external) = &filter.external_identifier {
            query.push(" and external_identifier = ").push_bind(external);
        }
        if let Some(widget) = filter.widget {
            query.push(" and id in (select conversation_id from widget_links where id = ").push_bind(widget);
            query.push(" and workspace_id = ").push_bind(workspace).push(")");
        }
        if let Some((at, id)) = filter.before {
            query.push(" and (created_at, id) < (").push_bind(at).push(", ").push_bind(id).push(")");
        }
        query.push(" order by created_at desc, id desc limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Conversation::from).collect())
}

/// Locks and reads the named conversations, in order of their ids.
pub async fn lock(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, ConversationId)>,
) -> Result<Vec<Conversation>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let lock = conn.row_lock();
    let rows: Vec<ConversationRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from conversations where (workspace_id, id) in (");
        query.push_values(ids, |mut row, (workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(") order by id").push(lock);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Conversation::from).collect())
}

pub async fn insert(conn: Conn<'_>, rows: &[&Conversation]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into conversations (");
        query.push(COLUMNS).push(") ");
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.workspace).push_bind(row.id).push_bind(row.kind);
            values.push_bind(row.assistant).push_bind(row.ai_enabled).push_bind(row.created_at);
            values.push_bind(row.ended_at).push_bind(row.deleted_at).push_bind(row.next_position);
            values.push_bind(row.open_turns).push_bind(row.spent).push_bind(&row.key_variables);
            values.push_bind(&row.visitor_variables).push_bind(&row.metadata);
            values.push_bind(&row.external_identifier);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}

/// Writes what every message changes of conversations that are there.
pub async fn update(conn: Conn<'_>, rows: &[&Conversation]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "update conversations set ai_enabled = new.column3, ended_at = new.column4, \
             next_position = new.column5, open_turns = new.column6, spent = new.column7 from (",
        );
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.workspace).push_bind(row.id).push_bind(row.ai_enabled);
            values.push_bind(row.ended_at).push_bind(row.next_position);
            values.push_bind(row.open_turns).push_bind(row.spent);
        });
        query.push(") as new where workspace_id = new.column1 and id = new.column2");
        query.build().execute(c).await?;
    });
    Ok(())
}

/// Writes the metadata, which may be large, of those of which it changes.
pub async fn update_metadata(conn: Conn<'_>, rows: &[&Conversation]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("update conversations set metadata = new.column3 from (");
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.workspace).push_bind(row.id).push_bind(&row.metadata);
        });
        query.push(") as new where workspace_id = new.column1 and id = new.column2");
        query.build().execute(c).await?;
    });
    Ok(())
}

/// Gives a conversation another assistant, from its next turn on.
pub async fn set_assistant(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: ConversationId,
    assistant: AssistantId,
) -> Result<(), StoreError> {
    const SET: &str = "update conversations set assistant_id = $1 where workspace_id = $2 and id = $3";
    on_conn!(conn, |c| {
        sqlx::query(SET).bind(assistant).bind(workspace).bind(id).execute(c).await?;
    });
    Ok(())
}

/// Gives conversations their link to the widget door; an older one is then unknown.
pub async fn put_links(
    mut conn: Conn<'_>,
    links: &[(WidgetUuid, WorkspaceId, ConversationId)],
    now: Micros,
) -> Result<(), StoreError> {
    if links.is_empty() {
        return Ok(());
    }
    on_conn!(conn.reborrow(), |c| {
        let mut query =
            QueryBuilder::new("delete from widget_links where (workspace_id, conversation_id) in (");
        query.push_values(links, |mut row, (_, workspace, id)| {
            row.push_bind(*workspace).push_bind(*id);
        });
        query.push(")");
        query.build().execute(c).await?;
    });
    on_conn!(conn, |c| {
        let mut query =
            QueryBuilder::new("insert into widget_links (id, workspace_id, conversation_id, created_at) ");
        query.push_values(links, |mut row, (link, workspace, id)| {
            row.push_bind(*link).push_bind(*workspace).push_bind(*id).push_bind(now);
        });
        query.build().execute(c).await?;
    });
    Ok(())
}
