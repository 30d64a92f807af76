//! API keys: the directory from a key's hash to its workspace.

use super::{Conn, StoreError, on_conn};
use crate::domain::account::{Account, Scope};
use crate::domain::clock::Micros;
use crate::domain::ids::{KeyId, WorkspaceId};

/// The account of a key that is neither revoked nor expired at `now`, by the SHA-256 of the key.
pub async fn find_account(conn: Conn<'_>, hash: &[u8], now: Micros) -> Result<Option<Account>, StoreError> {
    const FIND: &str = "select id, workspace_id, scopes from api_keys where hash = $1 \
        and revoked_at is null and (expires_at is null or expires_at > $2)";
    let found: Option<(KeyId, WorkspaceId, String)> =
        on_conn!(conn, |c| sqlx::query_as(FIND).bind(hash).bind(now).fetch_optional(c).await?);
    Ok(found.map(|(key, workspace, scopes)| Account {
        workspace,
        key,
        scopes: scopes.split_whitespace().filter_map(|scope| scope.parse::<Scope>().ok()).collect(),
    }))
}
