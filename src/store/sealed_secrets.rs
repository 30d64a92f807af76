//! All columns with sealed secrets, to encrypt them with another key.

use uuid::Uuid;

use super::{Conn, StoreError, on_conn};
use crate::domain::ids::WorkspaceId;

/// A column with sealed secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedColumn {
    /// JSON: the settings of a calendar.
    Calendars,
    /// JSON: a tool.
    Tools,
    /// JSON: a version of an assistant, which has the secrets of its tools.
    AssistantVersions,
    /// One sealed secret.
    EndpointSecrets,
    /// One sealed secret.
    PreviousEndpointSecrets,
    /// One sealed secret.
    IdentitySecrets,
}

/// The key of a row. Only versions of assistants have a version; that of other rows is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RowKey {
    pub workspace_id: WorkspaceId,
    pub id: Uuid,
    pub version: i64,
}

/// The content of a row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SealedRow {
    /// The slug of a tool; empty for other rows.
    pub slug: String,
    pub text: String,
}

struct Statements {
    list: &'static str,
    find: &'static str,
    replace: &'static str,
}

/// The statements over a column. The row comparison begins with the primary key of its table, and a list reads nothing else, so that its
/// time does not depend on how few rows have secrets.
macro_rules! statements {
    ($table:literal, $id:literal, $version:literal, $slug:literal, $text:literal, $has_secrets:literal) => {
        Statements {
            list: concat!(
                "select workspace_id, ",
                $id,
                " as id, ",
                $version,
                " as version from ",
                $table,
                " where (workspace_id, ",
                $id,
                ", ",
                $version,
                ") > ($1, $2, $3) order by 1, 2, 3 limit 100"
            ),
            find: concat!(
                "select ",
                $slug,
                " as slug, ",
                $text,
                " as text from ",
                $table,
                " where workspace_id = $1 and ",
                $id,
                " = $2 and ",
                $version,
                " = $3 and ",
                $has_secrets
            ),
            replace: concat!(
                "update ",
                $table,
                " set ",
                $text,
                " = $1 where workspace_id = $2 and ",
                $id,
                " = $3 and ",
                $version,
                " = $4 and ",
                $text,
                " = $5"
            ),
        }
    };
}

impl SealedColumn {
    pub const ALL: [Self; 6] = [
        Self::Calendars,
        Self::Tools,
        Self::AssistantVersions,
        Self::EndpointSecrets,
        Self::PreviousEndpointSecrets,
        Self::IdentitySecrets,
    ];

    const fn statements(self) -> &'static Statements {
        match self {
            Self::Calendars => &statements!(
                "calendars",
                "id",
                "cast(0 as bigint)",
                "''",
                "rules",
                "rules like '%\"sealed\":\"%'"
            ),
            Self::Tools => &statements!(
                "tools",
                "id",
                "cast(0 as bigint)",
                "slug",
                "definition",
                "definition like '%\"sealed\":\"%'"
            ),
            Self::AssistantVersions => &statements!(
                "assistant_versions",
                "assistant_id",
                "version",
                "''",
                "compiled",
                "compiled like '%\"sealed\":\"%'"
            ),
            Self::EndpointSecrets => {
                &statements!("webhook_endpoints", "id", "cast(0 as bigint)", "''", "secret", "secret <> ''")
            }
            Self::PreviousEndpointSecrets => &statements!(
                "webhook_endpoints",
                "id",
                "cast(0 as bigint)",
                "''",
                "previous_secret",
                "previous_secret <> ''"
            ),
            Self::IdentitySecrets => {
                &statements!("identity_secrets", "id", "cast(0 as bigint)", "''", "secret", "secret <> ''")
            }
        }
    }
}

/// The next 100 rows after `after`, in order of their keys.
pub async fn list(
    conn: Conn<'_>,
    column: SealedColumn,
    after: Option<RowKey>,
) -> Result<Vec<RowKey>, StoreError> {
    let list = column.statements().list;
    // Before all keys.
    let first = RowKey { workspace_id: WorkspaceId(Uuid::nil()), id: Uuid::nil(), version: -1 };
    let RowKey { workspace_id, id, version } = after.unwrap_or(first);
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(list).bind(workspace_id).bind(id).bind(version).fetch_all(c).await?
    }))
}

/// A row, if it has secrets.
pub async fn find(
    conn: Conn<'_>,
    column: SealedColumn,
    key: RowKey,
) -> Result<Option<SealedRow>, StoreError> {
    let find = column.statements().find;
    let RowKey { workspace_id, id, version } = key;
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(find).bind(workspace_id).bind(id).bind(version).fetch_optional(c).await?
    }))
}

/// Replaces the text of a row, unless it has changed. Returns true if it was replaced. The version of the workspace's configuration
/// stays: nothing that is cached by it has secrets, and versions of assistants that are in memory open with the earlier key.
pub async fn replace(
    conn: Conn<'_>,
    column: SealedColumn,
    key: RowKey,
    old: &str,
    new: &str,
) -> Result<bool, StoreError> {
    let replace = column.statements().replace;
    let RowKey { workspace_id, id, version } = key;
    let affected = on_conn!(conn, |c| {
        let query = sqlx::query(replace).bind(new).bind(workspace_id).bind(id).bind(version).bind(old);
        query.execute(c).await?.rows_affected()
    });
    Ok(affected > 0)
}
