//! The embedding models in use. The vectors of a model are kept until no process has used it for a while.

use std::time::Duration;

use super::knowledge_bases;
use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::store::{Conn, StoreError, on_conn, store_now};

/// Records that a process uses a model. From now on, written documents are enqueued for it.
pub async fn record_use(mut conn: Conn<'_>, model: &str, clock: &dyn Clock) -> Result<(), StoreError> {
    const UPSERT: &str = "insert into embedding_models (model, last_used) values ($1, $2) \
        on conflict (model) do update set last_used = excluded.last_used";
    let now = store_now(conn.reborrow(), clock).await?;
    on_conn!(conn, |c| {
        sqlx::query(UPSERT).bind(model).bind(now).execute(c).await?;
    });
    Ok(())
}

/// Removes the vectors of one document by one model that no process has used for `unused_for`; if none are left, the model
/// itself. Returns true if there was anything to remove.
pub async fn remove_retired(
    mut conn: Conn<'_>,
    unused_for: Duration,
    clock: &dyn Clock,
) -> Result<bool, StoreError> {
    const MODEL: &str =
        "select model, last_used from embedding_models where last_used <= $1 order by model limit 1";
    const DOCUMENT: &str = "select d.workspace_id, d.base_id, d.id from document_embeddings e \
        join documents d on d.workspace_id = e.workspace_id and d.id = e.document_id \
        where e.model = $1 order by d.workspace_id, d.id limit 1";
    // `last_used` is compared again, because a process may have started to use the model meanwhile.
    const DELETE_EMBEDDINGS: [&str; 2] = [
        "delete from passage_vectors where workspace_id = $1 and document_id = $2 and model = $3 \
            and exists (select 1 from embedding_models where model = $3 and last_used = $4)",
        "delete from document_embeddings where workspace_id = $1 and document_id = $2 and model = $3 \
            and exists (select 1 from embedding_models where model = $3 and last_used = $4)",
    ];
    const DELETE_MODEL: &str = "delete from embedding_models where model = $1 and last_used = $2";
    let before = store_now(conn.reborrow(), clock).await?.minus(unused_for);
    let retired: Option<(String, Micros)> =
        on_conn!(conn.reborrow(), |c| { sqlx::query_as(MODEL).bind(before).fetch_optional(c).await? });
    let Some((model, last_used)) = retired else { return Ok(false) };
    let document: Option<(WorkspaceId, KnowledgeBaseId, DocumentId)> =
        on_conn!(conn.reborrow(), |c| { sqlx::query_as(DOCUMENT).bind(&model).fetch_optional(c).await? });
    let Some((workspace, base, document)) = document else {
        on_conn!(conn, |c| {
            sqlx::query(DELETE_MODEL).bind(&model).bind(last_used).execute(c).await?;
        });
        return Ok(true);
    };
    // All writers of vectors lock the base first.
    knowledge_bases::lock(conn.reborrow(), workspace, base).await?;
    for statement in DELETE_EMBEDDINGS {
        on_conn!(conn.reborrow(), |c| {
            let query = sqlx::query(statement).bind(workspace).bind(document).bind(&model);
            query.bind(last_used).execute(c).await?;
        });
    }
    Ok(true)
}
