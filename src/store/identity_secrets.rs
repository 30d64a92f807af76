//! The secrets that sign the identity tokens of assistants' visitors.

use super::{Conn, StoreError, insert_rows, map_row, on_conn};
use crate::domain::identity::IdentitySecret;
use crate::domain::ids::{AssistantId, IdentitySecretId, WorkspaceId};

map_row!(
    IdentitySecret,
    "identity_secrets",
    identity_secret_columns {
        workspace: "workspace_id",
        id: "id",
        assistant: "assistant_id",
        secret: "secret",
        created_at: "created_at",
    }
);

/// The secrets of an assistant, the oldest first.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    assistant: AssistantId,
) -> Result<Vec<IdentitySecret>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        identity_secret_columns!(),
        " from identity_secrets where workspace_id = $1 and assistant_id = $2 order by id"
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).bind(assistant).fetch_all(c).await?))
}

pub async fn insert(conn: Conn<'_>, secret: &IdentitySecret) -> Result<(), StoreError> {
    insert_rows(conn, [secret], "").await?;
    Ok(())
}

/// Removes a secret: tokens that it has signed are not valid any more.
pub async fn delete(conn: Conn<'_>, workspace: WorkspaceId, id: IdentitySecretId) -> Result<(), StoreError> {
    const DELETE: &str = "delete from identity_secrets where workspace_id = $1 and id = $2";
    on_conn!(conn, |c| {
        sqlx::query(DELETE).bind(workspace).bind(id).execute(c).await?;
    });
    Ok(())
}
