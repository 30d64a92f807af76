//! Conversations, and the widget API's directory of links to them.

use std::collections::{BTreeSet, HashSet};

use super::{
    Columns, Conn, Statements, StoreError, columns, execute, fetch, insert_row, key_columns, map_row, on_conn,
};
use crate::domain::clock::Micros;
use crate::domain::conversation::Conversation;
use crate::domain::ids::{AssistantId, ConversationId, ErasureId, WidgetUuid, WorkspaceId};

map_row!(
    Conversation,
    "conversations",
    conversation_columns {
        workspace: "workspace_id",
        id: "id",
        kind: "kind",
        assistant: "assistant_id",
        ai_enabled: "ai_enabled",
        created_at: "created_at",
        ended_at: "ended_at",
        deleted_at: "deleted_at",
        next_position: "next_position",
        open_turns: "open_turns",
        spent: "spent",
        tokens: "tokens",
        key_variables: "key_variables",
        visitor_variables: "visitor_variables",
        metadata: "metadata",
        external_identifier: "external_identifier",
        identity: "identity",
        identity_variables: "identity_variables",
        identity_expires_at: "identity_expires_at",
        is_untouched: "untouched",
        updated_at: "updated_at",
    }
);

// After the mapping, whose column list it uses.
mod identified;
mod list;

pub use identified::list_identified;
pub use list::{ConversationPage, list};

/// A conversation of the workspace, unless it was deleted.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: ConversationId,
) -> Result<Option<Conversation>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        conversation_columns!(),
        " from conversations where workspace_id = $1 and id = $2 and deleted_at is null"
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// A conversation that a widget UUID opens.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LinkedConversation {
    #[sqlx(flatten)]
    pub conversation: Conversation,
    /// The current version of its assistant.
    pub current_version: i64,
}

/// The conversation that a widget UUID opens, unless it was deleted.
pub async fn find_by_link(
    conn: Conn<'_>,
    link: WidgetUuid,
) -> Result<Option<LinkedConversation>, StoreError> {
    // Not `conversations.*`: a prepared statement fails on PostgreSQL when a later migration adds a column to it. The columns of
    // the joined tables have names of their own, so that those of the conversation need no prefix.
    const FIND: &str = concat!(
        "select ",
        conversation_columns!(),
        ", current_version from conversations \
         join (select workspace_id as link_workspace, conversation_id as link_target from widget_links where id = $1) \
         as link on conversations.workspace_id = link_workspace and conversations.id = link_target \
         join (select workspace_id as assistant_workspace, id as assistant, current_version from assistants) \
         as assistant on conversations.workspace_id = assistant_workspace \
         and conversations.assistant_id = assistant.assistant \
         where deleted_at is null"
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(FIND).bind(link).fetch_optional(c).await?))
}

/// The conversations that the links open, of any workspace. Unknown links are left out.
pub async fn find_links(
    mut conn: Conn<'_>,
    links: &[WidgetUuid],
) -> Result<Vec<(WidgetUuid, WorkspaceId, ConversationId)>, StoreError> {
    const FIND: &str = "select id, workspace_id, conversation_id from widget_links where id = $1";
    let mut found = Vec::new();
    for link in links {
        found.extend(on_conn!(conn.reborrow(), |c| {
            sqlx::query_as::<_, (WidgetUuid, WorkspaceId, ConversationId)>(FIND)
                .bind(link)
                .fetch_optional(c)
                .await?
        }));
    }
    Ok(found)
}

/// The links among these with which a visitor may follow a conversation: of conversations that are not deleted, of workspaces that are not
/// suspended.
pub async fn list_following(conn: Conn<'_>, links: &[WidgetUuid]) -> Result<HashSet<WidgetUuid>, StoreError> {
    const KEYS: Columns<WidgetUuid> = columns!(|link| { "key_link": *link });
    const LIST: &str = "select key_link from new cross join widget_links join conversations \
        on conversations.workspace_id = widget_links.workspace_id \
        and conversations.id = widget_links.conversation_id \
        join workspaces on workspaces.id = widget_links.workspace_id \
        where widget_links.id = key_link and conversations.deleted_at is null and suspended_at is null";
    let rows: Vec<(WidgetUuid,)> = fetch(conn, &KEYS, links, LIST).await?;
    Ok(rows.into_iter().map(|(link,)| link).collect())
}

/// Locks and reads conversations, in the order of their ids.
pub async fn lock(
    conn: Conn<'_>,
    ids: &BTreeSet<(WorkspaceId, ConversationId)>,
) -> Result<Vec<Conversation>, StoreError> {
    macro_rules! lock {
        ($lock:literal) => {
            concat!(
                "select ",
                conversation_columns!(),
                " from new cross join conversations where workspace_id = key_workspace and id = key_id order by id",
                $lock
            )
        };
    }
    let lock = conn.pick(lock!(" for no key update of conversations"), lock!(""));
    fetch(conn, &key_columns(), ids, lock).await
}

pub fn insert(statements: &mut Statements, rows: &[&Conversation]) -> Result<(), StoreError> {
    statements.insert(rows.iter().copied(), "")
}

/// Writes the columns that messages change.
pub fn update(statements: &mut Statements, rows: &[&Conversation]) -> Result<(), StoreError> {
    const ROWS: Columns<Conversation> = columns!(|row| {
        "workspace_id": row.workspace,
        "id": row.id,
        "ai_enabled": row.ai_enabled,
        "ended_at": row.ended_at,
        "next_position": row.next_position,
        "open_turns": row.open_turns,
        "spent": row.spent,
        "tokens": row.tokens,
        "untouched": row.is_untouched,
        "updated_at": row.updated_at,
    });
    const UPDATE: &str = "update conversations set ai_enabled = new.ai_enabled, ended_at = new.ended_at, \
        next_position = new.next_position, open_turns = new.open_turns, spent = new.spent, \
        tokens = new.tokens, untouched = new.untouched, updated_at = new.updated_at from new \
        where conversations.workspace_id = new.workspace_id and conversations.id = new.id";
    statements.add(&ROWS, rows.iter().copied(), UPDATE)
}

/// Writes the metadata. It may be large, so only conversations whose metadata changes are passed.
pub async fn update_metadata(conn: Conn<'_>, rows: &[&Conversation]) -> Result<(), StoreError> {
    const ROWS: Columns<Conversation> =
        columns!(|row| { "workspace_id": row.workspace, "id": row.id, "metadata": &row.metadata });
    const UPDATE: &str = "update conversations set metadata = new.metadata from new \
        where conversations.workspace_id = new.workspace_id and conversations.id = new.id";
    execute(conn, &ROWS, rows.iter().copied(), UPDATE).await?;
    Ok(())
}

/// Writes the claims of visitors. Only conversations whose claims change are passed.
pub async fn update_identities(conn: Conn<'_>, rows: &[&Conversation]) -> Result<(), StoreError> {
    const ROWS: Columns<Conversation> = columns!(|row| {
        "workspace_id": row.workspace,
        "id": row.id,
        "identity_variables": &row.identity_variables,
        "identity_expires_at": row.identity_expires_at,
    });
    const UPDATE: &str = "update conversations set identity_variables = new.identity_variables, \
        identity_expires_at = new.identity_expires_at from new \
        where conversations.workspace_id = new.workspace_id and conversations.id = new.id";
    execute(conn, &ROWS, rows.iter().copied(), UPDATE).await?;
    Ok(())
}

/// A conversation that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    pub erasure: ErasureId,
    pub deleted_at: Micros,
}

/// Marks conversations as deleted. They are not found any more.
pub async fn mark_deleted(conn: Conn<'_>, rows: &[Deletion]) -> Result<(), StoreError> {
    const ROWS: Columns<Deletion> = columns!(|row| {
        "key_workspace": row.workspace,
        "key_id": row.conversation,
        "new_erasure": row.erasure,
        "new_deleted_at": row.deleted_at,
    });
    const MARK: &str = "update conversations set deleted_at = new_deleted_at, erasure_id = new_erasure from new \
        where workspace_id = key_workspace and id = key_id";
    execute(conn, &ROWS, rows, MARK).await?;
    Ok(())
}

/// The first `limit` conversations that were deleted after a time, or at it and have a later id, of all workspaces.
pub async fn list_deleted(
    conn: Conn<'_>,
    (at, id): (Micros, ConversationId),
    limit: i64,
) -> Result<Vec<(Micros, ConversationId)>, StoreError> {
    const LIST: &str = "select deleted_at, id from conversations where deleted_at is not null \
        and (deleted_at, id) > ($1, $2) order by deleted_at, id limit $3";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(at).bind(id).bind(limit).fetch_all(c).await?))
}

/// Assigns another assistant, which answers from the next turn on.
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

/// The widget link of a conversation.
struct WidgetLink {
    link: WidgetUuid,
    workspace: WorkspaceId,
    conversation: ConversationId,
    created_at: Micros,
}

insert_row!(WidgetLink, "widget_links", |row| {
    "id": row.link,
    "workspace_id": row.workspace,
    "conversation_id": row.conversation,
    "created_at": row.created_at,
});

/// Writes the widget links of conversations. The previous link of each stops working.
pub fn put_links(
    statements: &mut Statements,
    links: &[(WidgetUuid, WorkspaceId, ConversationId)],
    now: Micros,
) -> Result<(), StoreError> {
    const REPLACE: &str = " on conflict (workspace_id, conversation_id) do update set id = excluded.id, \
        created_at = excluded.created_at";
    let link =
        |&(link, workspace, conversation): &_| WidgetLink { link, workspace, conversation, created_at: now };
    statements.insert(&links.iter().map(link).collect::<Vec<_>>(), REPLACE)
}
