//! Which documents are to be embedded by a model, and which process is at it. A claim only saves work done twice: what is
//! written is the same whoever writes it.

use std::time::Duration;

use sqlx::QueryBuilder;

use super::now::store_now;
use super::{Conn, StoreError, on_conn};
use crate::domain::clock::Clock;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};

/// A document that is not embedded whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Work {
    #[sqlx(rename = "workspace_id")]
    pub workspace: WorkspaceId,
    #[sqlx(rename = "base_id")]
    pub base: KnowledgeBaseId,
    #[sqlx(rename = "document_id")]
    pub document: DocumentId,
    /// Of its first passage: another one where it was written anew.
    pub first_number: i64,
}

/// From a document to what is to be embedded of it, for the model $1: nothing where there is no passage.
macro_rules! unfinished {
    () => {
        "from documents d join knowledge_bases b \
            on b.workspace_id = d.workspace_id and b.id = d.base_id and b.archived_at is null \
        join passages p on p.workspace_id = d.workspace_id and p.document_id = d.id and p.position = 0 \
        left join document_embeddings e \
            on e.workspace_id = d.workspace_id and e.document_id = d.id and e.model = $1 \
        where (e.finished_at is null or e.first_number <> p.number)"
    };
}

/// How many documents are not embedded whole by this model.
pub async fn count(conn: Conn<'_>, model: &str) -> Result<i64, StoreError> {
    const COUNT: &str = concat!("select count(*) ", unfinished!());
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).bind(model).fetch_one(c).await?);
    Ok(count)
}

/// The next documents that no process is at, at most `limit`: of the workspaces after this one first, so that each has its turn.
pub async fn next(
    mut conn: Conn<'_>,
    model: &str,
    after: WorkspaceId,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<Work>, StoreError> {
    const NEXT: &str = concat!(
        "select d.workspace_id, d.base_id, d.id as document_id, p.number as first_number ",
        unfinished!(),
        " and (e.claimed_until is null or e.claimed_until <= $2) \
        order by case when d.workspace_id > $3 then 0 else 1 end, d.workspace_id, p.number limit $4"
    );
    let now = store_now(conn.reborrow(), clock).await?;
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(NEXT).bind(model).bind(now).bind(after).bind(limit).fetch_all(c).await?
    }))
}

/// Claims it for so long; whether it is this process's now.
pub async fn claim(
    mut conn: Conn<'_>,
    work: Work,
    model: &str,
    lasting: Duration,
    clock: &dyn Clock,
) -> Result<bool, StoreError> {
    const CLAIM: &str = "insert into document_embeddings \
        (workspace_id, document_id, model, first_number, embedded, claimed_until) values ($1, $2, $3, $4, 0, $5) \
        on conflict (workspace_id, document_id, model) do update \
        set embedded = case when document_embeddings.first_number = excluded.first_number \
                then document_embeddings.embedded else 0 end, \
            first_number = excluded.first_number, claimed_until = excluded.claimed_until, finished_at = null \
        where document_embeddings.claimed_until <= $6 and (document_embeddings.finished_at is null \
            or document_embeddings.first_number <> excluded.first_number)";
    let now = store_now(conn.reborrow(), clock).await?;
    let claimed = on_conn!(conn, |c| {
        let query = sqlx::query(CLAIM).bind(work.workspace).bind(work.document).bind(model);
        let query = query.bind(work.first_number).bind(now.plus(lasting)).bind(now);
        query.execute(c).await?.rows_affected()
    });
    Ok(claimed == 1)
}

/// Counts what has been embedded of it anew, and keeps the claim for so long from now.
pub async fn keep(
    mut conn: Conn<'_>,
    work: Work,
    model: &str,
    lasting: Duration,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    const KEEP: &str = "update document_embeddings set claimed_until = $5, embedded = (select count(*) \
            from passage_vectors v join passages p on p.workspace_id = v.workspace_id \
                and p.document_id = v.document_id and p.position = v.position and p.number = v.number \
            where v.workspace_id = $1 and v.base_id = $6 and v.document_id = $2 and v.model = $3 \
                and v.dimension > 0) \
        where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4";
    let now = store_now(conn.reborrow(), clock).await?;
    on_conn!(conn, |c| {
        let query = sqlx::query(KEEP).bind(work.workspace).bind(work.document).bind(model);
        let query = query.bind(work.first_number).bind(now.plus(lasting)).bind(work.base);
        query.execute(c).await?;
    });
    Ok(())
}

/// Gives the claim up. `is_finished`: no passage is left without a vector.
pub async fn release(
    mut conn: Conn<'_>,
    work: Work,
    model: &str,
    is_finished: bool,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    const RELEASE: &str = "update document_embeddings set claimed_until = 0, finished_at = $5 \
        where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4";
    let now = store_now(conn.reborrow(), clock).await?;
    let finished_at = is_finished.then_some(now);
    on_conn!(conn, |c| {
        let query = sqlx::query(RELEASE).bind(work.workspace).bind(work.document).bind(model);
        query.bind(work.first_number).bind(finished_at).execute(c).await?;
    });
    Ok(())
}

/// Gives up all claims: at the start of the one process that a store has.
pub async fn release_all(conn: Conn<'_>) -> Result<(), StoreError> {
    const RELEASE: &str = "update document_embeddings set claimed_until = 0 where claimed_until > 0";
    on_conn!(conn, |c| {
        sqlx::query(RELEASE).execute(c).await?;
    });
    Ok(())
}

/// How many passages of a base, or of one document in it, the model has embedded.
pub async fn embedded(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    document: Option<DocumentId>,
    model: &str,
) -> Result<i64, StoreError> {
    const EMBEDDED: &str = "select cast(coalesce(sum(e.embedded), 0) as bigint) from documents d \
        join document_embeddings e on e.workspace_id = d.workspace_id and e.document_id = d.id \
        join passages p on p.workspace_id = d.workspace_id and p.document_id = d.id and p.position = 0 \
            and p.number = e.first_number \
        where d.workspace_id = ";
    let (embedded,): (i64,) = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(EMBEDDED);
        query.push_bind(workspace).push(" and d.base_id = ").push_bind(base);
        query.push(" and e.model = ").push_bind(model);
        if let Some(document) = document {
            query.push(" and d.id = ").push_bind(document);
        }
        query.build_query_as().fetch_one(c).await?
    });
    Ok(embedded)
}

/// Removes what other models made of documents that this one has finished `kept` ago, at most of so many documents; of how
/// many it was.
pub async fn remove_retired(
    mut conn: Conn<'_>,
    model: &str,
    kept: Duration,
    limit: i64,
    clock: &dyn Clock,
) -> Result<usize, StoreError> {
    const RETIRED: &str = "select old.workspace_id, old.document_id, old.model from document_embeddings old \
        join document_embeddings e on e.workspace_id = old.workspace_id and e.document_id = old.document_id \
            and e.model = $1 and e.finished_at <= $2 \
        where old.model <> $1 limit $3";
    const VECTORS: &str =
        "delete from passage_vectors where workspace_id = $1 and document_id = $2 and model = $3";
    const STATE: &str =
        "delete from document_embeddings where workspace_id = $1 and document_id = $2 and model = $3";
    let before = store_now(conn.reborrow(), clock).await?.minus(kept);
    let retired: Vec<(WorkspaceId, DocumentId, String)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(RETIRED).bind(model).bind(before).bind(limit).fetch_all(c).await?
    });
    for (workspace, document, old) in &retired {
        for statement in [VECTORS, STATE] {
            on_conn!(conn.reborrow(), |c| {
                sqlx::query(statement).bind(workspace).bind(document).bind(old).execute(c).await?;
            });
        }
    }
    Ok(retired.len())
}
