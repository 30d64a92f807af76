//! Embedding jobs: the documents that a model has yet to embed, and the claims on them. A claim only avoids duplicate work;
//! the result does not depend on which process writes it.

use std::time::Duration;

use sqlx::QueryBuilder;

use crate::domain::clock::Clock;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::store::{Conn, StoreError, on_conn, store_now};

/// A document that is not completely embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct EmbeddingJob {
    #[sqlx(rename = "workspace_id")]
    pub workspace: WorkspaceId,
    #[sqlx(rename = "base_id")]
    pub base: KnowledgeBaseId,
    #[sqlx(rename = "document_id")]
    pub document: DocumentId,
    /// Number of its first passage, which changes when the document is rewritten.
    pub first_number: i64,
}

/// The unfinished jobs of the model $1. [`enqueue_missing`] finds documents that were rewritten without a new job.
macro_rules! from_unfinished {
    () => {
        "from document_embeddings e \
        join documents d on d.workspace_id = e.workspace_id and d.id = e.document_id \
        join knowledge_bases b \
            on b.workspace_id = d.workspace_id and b.id = d.base_id and b.archived_at is null \
        join passages p on p.workspace_id = d.workspace_id and p.document_id = d.id and p.position = 0 \
            and p.number = e.first_number \
        where e.model = $1 and e.finished_at is null"
    };
}

/// The number of passages of a row's document that its model has embedded.
macro_rules! embedded_count {
    () => {
        "(select count(*) from passage_vectors v where v.workspace_id = document_embeddings.workspace_id \
            and v.document_id = document_embeddings.document_id and v.model = document_embeddings.model \
            and v.dimension > 0)"
    };
}

/// Enqueues a document for every model in use after it was written. This ends claims on its previous text. The caller has
/// locked its base.
pub async fn enqueue(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    document: DocumentId,
) -> Result<(), StoreError> {
    const MARK: &str = "insert into document_embeddings \
        (workspace_id, document_id, model, first_number, embedded, claimed_until) \
        select p.workspace_id, p.document_id, m.model, p.number, 0, 0 from passages p cross join embedding_models m \
        where p.workspace_id = $1 and p.document_id = $2 and p.position = 0 \
        on conflict (workspace_id, document_id, model) do update \
        set first_number = excluded.first_number, claimed_until = 0, failures = 0, finished_at = null";
    // Vectors that were kept count as embedded immediately.
    const EMBEDDED: &str = concat!(
        "update document_embeddings set embedded = ",
        embedded_count!(),
        " where workspace_id = $1 and document_id = $2"
    );
    // A document without passages needs no embedding.
    const EMPTY: &str = "delete from document_embeddings where workspace_id = $1 and document_id = $2 \
        and not exists (select 1 from passages p where p.workspace_id = $1 and p.document_id = $2)";
    for statement in [MARK, EMBEDDED, EMPTY] {
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(statement).bind(workspace).bind(document).execute(c).await?;
        });
    }
    Ok(())
}

/// Enqueues at most `limit` documents that have no job for this model and whose first passage has a number above `after`.
/// Returns the highest such number. It reads every document, so it runs at the start and rarely afterwards: for documents that
/// were written while the model's first process was starting.
pub async fn enqueue_missing(
    conn: Conn<'_>,
    model: &str,
    after: i64,
    limit: i64,
) -> Result<Option<i64>, StoreError> {
    const MARK: &str = "insert into document_embeddings \
        (workspace_id, document_id, model, first_number, embedded, claimed_until) \
        select p.workspace_id, p.document_id, cast($1 as text), p.number, 0, 0 from passages p \
        where p.position = 0 and p.number > $2 and not exists (select 1 from document_embeddings e \
            where e.workspace_id = p.workspace_id and e.document_id = p.document_id and e.model = $1 \
                and e.first_number = p.number) \
        order by p.number limit $3 \
        on conflict (workspace_id, document_id, model) do update \
        set first_number = excluded.first_number, embedded = 0, claimed_until = 0, failures = 0, finished_at = null \
        where document_embeddings.first_number < excluded.first_number returning first_number";
    let marked: Vec<(i64,)> =
        on_conn!(conn, |c| { sqlx::query_as(MARK).bind(model).bind(after).bind(limit).fetch_all(c).await? });
    Ok(marked.into_iter().map(|(number,)| number).max())
}

/// The number of unfinished jobs of a model.
pub async fn count(conn: Conn<'_>, model: &str) -> Result<i64, StoreError> {
    const COUNT: &str = concat!("select count(*) ", from_unfinished!());
    let (count,): (i64,) = on_conn!(conn, |c| sqlx::query_as(COUNT).bind(model).fetch_one(c).await?);
    Ok(count)
}

/// At most `limit` jobs that no process has claimed. Workspaces after `after` come first, so that all get their turn.
pub async fn list_due(
    mut conn: Conn<'_>,
    model: &str,
    after: WorkspaceId,
    limit: i64,
    clock: &dyn Clock,
) -> Result<Vec<EmbeddingJob>, StoreError> {
    // Two index scans that end early.
    const NEXT: [&str; 2] = [
        concat!(
            "select d.workspace_id, d.base_id, e.document_id, e.first_number ",
            from_unfinished!(),
            " and e.claimed_until <= $2 and e.workspace_id > $3 \
            order by e.workspace_id, e.first_number limit $4"
        ),
        concat!(
            "select d.workspace_id, d.base_id, e.document_id, e.first_number ",
            from_unfinished!(),
            " and e.claimed_until <= $2 and e.workspace_id <= $3 \
            order by e.workspace_id, e.first_number limit $4"
        ),
    ];
    let now = store_now(conn.reborrow(), clock).await?;
    let mut found: Vec<EmbeddingJob> = Vec::new();
    for statement in NEXT {
        let left = limit - i64::try_from(found.len()).unwrap_or(limit);
        if left > 0 {
            let more: Vec<EmbeddingJob> = on_conn!(conn.reborrow(), |c| {
                sqlx::query_as(statement).bind(model).bind(now).bind(after).bind(left).fetch_all(c).await?
            });
            found.extend(more);
        }
    }
    Ok(found)
}

/// Claims a job for a duration. Returns false if another process was faster.
pub async fn claim(
    mut conn: Conn<'_>,
    job: EmbeddingJob,
    model: &str,
    duration: Duration,
    clock: &dyn Clock,
) -> Result<bool, StoreError> {
    const CLAIM: &str = "update document_embeddings set claimed_until = $5 \
        where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4 \
            and claimed_until <= $6 and finished_at is null";
    let now = store_now(conn.reborrow(), clock).await?;
    let claimed = on_conn!(conn, |c| {
        let query = sqlx::query(CLAIM).bind(job.workspace).bind(job.document).bind(model);
        let query = query.bind(job.first_number).bind(now.plus(duration)).bind(now);
        query.execute(c).await?.rows_affected()
    });
    Ok(claimed == 1)
}

/// Extends a claim to a duration from now.
pub async fn renew(
    mut conn: Conn<'_>,
    job: EmbeddingJob,
    model: &str,
    duration: Duration,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    const RENEW: &str = "update document_embeddings set claimed_until = $5 \
        where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4 and finished_at is null";
    let now = store_now(conn.reborrow(), clock).await?;
    on_conn!(conn, |c| {
        let query = sqlx::query(RENEW).bind(job.workspace).bind(job.document).bind(model);
        query.bind(job.first_number).bind(now.plus(duration)).execute(c).await?;
    });
    Ok(())
}

/// Updates the number of embedded passages of a job. The caller has locked its base.
pub async fn recount(conn: Conn<'_>, job: EmbeddingJob, model: &str) -> Result<(), StoreError> {
    const RECOUNT: &str = concat!(
        "update document_embeddings set embedded = ",
        embedded_count!(),
        " where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4"
    );
    on_conn!(conn, |c| {
        let query = sqlx::query(RECOUNT).bind(job.workspace).bind(job.document).bind(model);
        query.bind(job.first_number).execute(c).await?;
    });
    Ok(())
}

/// Releases a claim and updates the number of embedded passages. `is_finished`: every passage has a vector.
pub async fn release(
    mut conn: Conn<'_>,
    job: EmbeddingJob,
    model: &str,
    is_finished: bool,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    // Counted here as well: a previous owner may have embedded the whole document.
    const RELEASE: &str = concat!(
        "update document_embeddings set claimed_until = 0, finished_at = $5, embedded = ",
        embedded_count!(),
        " where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4"
    );
    let now = store_now(conn.reborrow(), clock).await?;
    let finished_at = is_finished.then_some(now);
    on_conn!(conn, |c| {
        let query = sqlx::query(RELEASE).bind(job.workspace).bind(job.document).bind(model);
        query.bind(job.first_number).bind(finished_at).execute(c).await?;
    });
    Ok(())
}

/// Releases a claim after a failure and delays the job by `backoff[n]` after its n-th failure. The last delay repeats.
pub async fn snooze(
    mut conn: Conn<'_>,
    job: EmbeddingJob,
    model: &str,
    backoff: &[Duration],
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    const FAIL: &str = "update document_embeddings set failures = failures + 1 \
        where workspace_id = $1 and document_id = $2 and model = $3 and first_number = $4 returning failures";
    let failed: Option<(i64,)> = on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query_as(FAIL).bind(job.workspace).bind(job.document).bind(model);
        query.bind(job.first_number).fetch_optional(c).await?
    });
    let Some((failures,)) = failed else { return Ok(()) };
    let index = usize::try_from(failures - 1).unwrap_or(0).min(backoff.len().saturating_sub(1));
    renew(conn, job, model, backoff.get(index).copied().unwrap_or_default(), clock).await
}

/// Releases all claims, at the start of the only process of an SQLite database.
pub async fn release_all(conn: Conn<'_>) -> Result<(), StoreError> {
    const RELEASE: &str = "update document_embeddings set claimed_until = 0 where claimed_until > 0";
    on_conn!(conn, |c| {
        sqlx::query(RELEASE).execute(c).await?;
    });
    Ok(())
}

/// The number of passages of a base, or of one of its documents, that the model has embedded.
pub async fn count_embedded(
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
