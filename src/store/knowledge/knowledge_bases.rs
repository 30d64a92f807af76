//! Knowledge bases. Writers of documents lock the row of their base: after workspaces, conversations and calendars, and
//! in the order of ids if there are several.

use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::KnowledgeBase;
use crate::store::resource::{Resource, resource_page};
use crate::store::{Conn, StoreError, insert_rows, map_row, on_conn};

map_row!(
    KnowledgeBase,
    "knowledge_bases",
    base_columns {
        workspace: "workspace_id",
        id: "id",
        slug: "slug",
        name: "name",
        language: "language",
        passages: "passages",
        words: "words",
        from_file: "from_file",
        archived_at: "archived_at",
        created_at: "created_at",
        updated_at: "updated_at",
    }
);

macro_rules! find {
    () => {
        concat!("select ", base_columns!(), " from knowledge_bases where workspace_id = $1 and id = $2")
    };
}

impl Resource for KnowledgeBase {
    type Id = KnowledgeBaseId;
    const FIND: &'static str = concat!(find!(), " and archived_at is null");
    const LIST: &'static str = concat!(
        "select ",
        base_columns!(),
        ", candidates from ",
        resource_page!("knowledge_bases", "octet_length(slug) + octet_length(name)"),
        " cross join knowledge_bases where workspace_id = $1 and id = page_id order by id"
    );

    fn id(&self) -> KnowledgeBaseId {
        self.id
    }
}

/// The base that has a slug, unless it is archived.
pub async fn find_slug(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    slug: &str,
) -> Result<Option<KnowledgeBaseId>, StoreError> {
    const FIND: &str =
        "select id from knowledge_bases where archived_at is null and workspace_id = $1 and slug = $2";
    let found: Option<(KnowledgeBaseId,)> =
        on_conn!(conn, |c| sqlx::query_as(FIND).bind(workspace).bind(slug).fetch_optional(c).await?);
    Ok(found.map(|(id,)| id))
}

/// A base, archived or not.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
) -> Result<Option<KnowledgeBase>, StoreError> {
    Ok(on_conn!(conn, |c| sqlx::query_as(find!()).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// Finds and locks a base: until the transaction ends, no other process writes the base or its documents.
pub async fn lock(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
) -> Result<Option<KnowledgeBase>, StoreError> {
    let lock = conn.pick(concat!(find!(), " for no key update"), find!());
    Ok(on_conn!(conn, |c| sqlx::query_as(lock).bind(workspace).bind(id).fetch_optional(c).await?))
}

/// Locks the bases that occupy a slug: those that are not archived, and those that a workspace file created and no longer
/// contains. In the order of ids.
pub async fn lock_all(conn: Conn<'_>, workspace: WorkspaceId) -> Result<Vec<KnowledgeBase>, StoreError> {
    macro_rules! lock_all {
        ($lock:literal) => {
            concat!(
                "select ",
                base_columns!(),
                " from knowledge_bases where (archived_at is null or from_file) and workspace_id = $1 order by id",
                $lock
            )
        };
    }
    let lock_all = conn.pick(lock_all!(" for no key update"), lock_all!(""));
    Ok(on_conn!(conn, |c| sqlx::query_as(lock_all).bind(workspace).fetch_all(c).await?))
}

/// The number of bases of a workspace, those included that are being deleted.
pub async fn count(conn: Conn<'_>, workspace: WorkspaceId) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from knowledge_bases where workspace_id = $1";
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).fetch_one(c).await?);
    Ok(count)
}

/// Inserts a base. Returns false if its slug is taken.
pub async fn insert(conn: Conn<'_>, base: &KnowledgeBase) -> Result<bool, StoreError> {
    Ok(insert_rows(conn, [base], " on conflict do nothing").await? > 0)
}

/// Writes the name, language and `archived_at` of a locked base.
pub async fn update(conn: Conn<'_>, base: &KnowledgeBase) -> Result<(), StoreError> {
    const UPDATE: &str = "update knowledge_bases set name = $1, language = $2, archived_at = $3, updated_at = $4 \
        where workspace_id = $5 and id = $6";
    on_conn!(conn, |c| {
        let query = sqlx::query(UPDATE).bind(&base.name).bind(base.language).bind(base.archived_at);
        query.bind(base.updated_at).bind(base.workspace).bind(base.id).execute(c).await?;
    });
    Ok(())
}

/// A base that was deleted through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DeletedKnowledgeBase {
    #[sqlx(rename = "workspace_id")]
    pub workspace: WorkspaceId,
    #[sqlx(rename = "id")]
    pub base: KnowledgeBaseId,
}

/// The deleted bases, which are yet to be removed.
pub async fn list_deleted(conn: Conn<'_>) -> Result<Vec<DeletedKnowledgeBase>, StoreError> {
    const LIST: &str = "select workspace_id, id from knowledge_bases \
        where archived_at is not null and not from_file order by workspace_id, id";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).fetch_all(c).await?))
}

/// How many terms of a deleted base one transaction removes.
const TERMS_PER_TRANSACTION: i64 = 5000;

/// Removes one document of a deleted base; if none are left, some of its terms; and in the end the base itself. Returns
/// true while there is more to remove.
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
