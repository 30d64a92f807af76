//! Knowledge bases. A base's row is locked by whoever writes its documents: after workspaces, conversations and
//! calendars, and ordered by id where there are several.

use sqlx::QueryBuilder;

use crate::domain::clock::Micros;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{KnowledgeBase, Language};
use crate::store::{Conn, StoreError, on_conn};

const COLUMNS: &str = "workspace_id, id, slug, name, language, passages, words, from_file, archived_at, \
    created_at, updated_at";

#[derive(sqlx::FromRow)]
struct BaseRow {
    workspace_id: WorkspaceId,
    id: KnowledgeBaseId,
    slug: String,
    name: Option<String>,
    language: Language,
    passages: i64,
    words: i64,
    from_file: bool,
    archived_at: Option<Micros>,
    created_at: Micros,
    updated_at: Micros,
}

impl From<BaseRow> for KnowledgeBase {
    fn from(row: BaseRow) -> Self {
        Self {
            workspace: row.workspace_id,
            id: row.id,
            slug: row.slug,
            name: row.name,
            language: row.language,
            passages: row.passages,
            words: row.words,
            from_file: row.from_file,
            archived_at: row.archived_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A base, archived or not.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
) -> Result<Option<KnowledgeBase>, StoreError> {
    get(conn, workspace, id, "").await
}

/// The same, locked: until the transaction ends nobody else writes to the base or its documents.
pub async fn lock(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
) -> Result<Option<KnowledgeBase>, StoreError> {
    let lock = conn.row_lock();
    get(conn, workspace, id, lock).await
}

async fn get(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
    lock: &'static str,
) -> Result<Option<KnowledgeBase>, StoreError> {
    let found: Option<BaseRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from knowledge_bases where workspace_id = ").push_bind(workspace);
        query.push(" and id = ").push_bind(id).push(lock);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(KnowledgeBase::from))
}

/// At most `limit` bases that are in use, after one, in order of age.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    after: Option<KnowledgeBaseId>,
    limit: i64,
) -> Result<Vec<KnowledgeBase>, StoreError> {
    let rows: Vec<BaseRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from knowledge_bases where archived_at is null and workspace_id = ");
        query.push_bind(workspace);
        if let Some(after) = after {
            query.push(" and id > ").push_bind(after);
        }
        query.push(" order by id limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(KnowledgeBase::from).collect())
}

/// Those that hold a slug: all in use, and what a workspace file made and no longer has. Locked, by id.
pub async fn lock_all(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<KnowledgeBase>, StoreError> {
    let lock = conn.row_lock();
    let rows: Vec<BaseRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from knowledge_bases where (archived_at is null or from_file)");
        query.push(" and workspace_id = ").push_bind(workspace).push(" order by id").push(lock);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(KnowledgeBase::from).collect())
}

/// Makes a base; false where its slug is taken.
pub async fn insert(conn: Conn<'_>, base: &KnowledgeBase) -> Result<bool, StoreError> {
    let inserted = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into knowledge_bases (");
        query.push(COLUMNS).push(") values (");
        let mut values = query.separated(", ");
        values.push_bind(base.workspace).push_bind(base.id).push_bind(&base.slug).push_bind(&base.name);
        values.push_bind(base.language).push_bind(base.passages).push_bind(base.words);
        values.push_bind(base.from_file).push_bind(base.archived_at).push_bind(base.created_at);
        values.push_bind(base.updated_at);
        query.push(") on conflict do nothing");
        query.build().execute(c).await?.rows_affected()
    });
    Ok(inserted > 0)
}

/// Writes name, language and whether it is archived of a base that is locked.
pub async fn update(conn: Conn<'_>, base: &KnowledgeBase) -> Result<(), StoreError> {
    const UPDATE: &str = "update knowledge_bases set name = $1, language = $2, archived_at = $3, updated_at = $4 \
        where workspace_id = $5 and id = $6";
    on_conn!(conn, |c| {
        let query = sqlx::query(UPDATE).bind(&base.name).bind(base.language).bind(base.archived_at);
        query.bind(base.updated_at).bind(base.workspace).bind(base.id).execute(c).await?;
    });
    Ok(())
}

/// A base that the API deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DeletedKnowledgeBase {
    #[sqlx(rename = "workspace_id")]
    pub workspace: WorkspaceId,
    #[sqlx(rename = "id")]
    pub base: KnowledgeBaseId,
}

/// What is to be removed of them.
pub async fn list_deleted(conn: Conn<'_>) -> Result<Vec<DeletedKnowledgeBase>, StoreError> {
    const LIST: &str = "select workspace_id, id from knowledge_bases \
        where archived_at is not null and not from_file order by workspace_id, id";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).fetch_all(c).await?))
}

/// Words of a deleted base that one transaction removes.
const TERMS_PER_TRANSACTION: i64 = 5000;

/// Removes one document of a deleted base; where there are none left, some of its words, or at last the base. Whether
/// more is left.
pub async fn remove(mut conn: Conn<'_>, deleted: DeletedKnowledgeBase) -> Result<bool, StoreError> {
    const DOCUMENT: &str =
        "select id from documents where workspace_id = $1 and base_id = $2 order by id limit 1";
    const DELETE_DOCUMENT: [&str; 2] = [
        "delete from passages where workspace_id = $1 and document_id = $2",
        "delete from documents where workspace_id = $1 and id = $2",
    ];
    const DELETE_TERMS: &str = "delete from terms where workspace_id = $1 and base_id = $2 and term <= (select max(term) \
        from (select term from terms where workspace_id = $1 and base_id = $2 order by term limit $3) t)";
    const DELETE_BASE: &str = "delete from knowledge_bases where workspace_id = $1 and id = $2";
    let DeletedKnowledgeBase { workspace, base } = deleted;
    if lock(conn.reborrow(), workspace, base).await?.is_none() {
        return Ok(false);
    }
    let document: Option<(DocumentId,)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(DOCUMENT).bind(workspace).bind(base).fetch_optional(c).await?
    });
    if let Some((document,)) = document {
        for statement in DELETE_DOCUMENT {
            on_conn!(conn.reborrow(), |c| {
                sqlx::query(statement).bind(workspace).bind(document).execute(c).await?;
            });
        }
        return Ok(true);
    }
    let terms = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(DELETE_TERMS).bind(workspace).bind(base).bind(TERMS_PER_TRANSACTION);
        query.execute(c).await?.rows_affected()
    });
    if terms > 0 {
        return Ok(true);
    }
    on_conn!(conn, |c| {
        sqlx::query(DELETE_BASE).bind(workspace).bind(base).execute(c).await?;
    });
    Ok(false)
}
