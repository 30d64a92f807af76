//! Knowledge bases of the platform API: create, read, rename, delete and search. [`documents`] has their documents.

mod child;
pub mod documents;
mod ingest;

pub use child::{ALLOCATOR_RESERVE, child_command, read_as_child};
pub use ingest::{DocumentExtractor, DocumentSource, IngestError};

use super::{Services, resources};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, ResourceId as _, WorkspaceId};
use crate::domain::knowledge::{Hit, KnowledgeBase, Language, SearchMode};
use crate::store::knowledge::{embedding_jobs, knowledge_bases};
use crate::store::{Conn, StoreError};

/// A new base with validated fields.
#[derive(Debug)]
pub struct CreateKnowledgeBase {
    pub slug: String,
    pub name: Option<String>,
    pub language: Language,
}

/// A base, and the progress of its embedding.
#[derive(Debug)]
pub struct KnowledgeBaseDetails {
    pub base: KnowledgeBase,
    /// How many of its passages have a vector; `None` if no endpoint is configured.
    pub embedded: Option<i64>,
}

/// Creates a base.
pub async fn create(
    services: &Services,
    account: &Account,
    request: CreateKnowledgeBase,
) -> Result<KnowledgeBase, Error> {
    let now = services.clock.now();
    let base = KnowledgeBase {
        workspace: account.workspace,
        id: KnowledgeBaseId(services.ids.uuid_v7(services.clock.as_ref())),
        slug: request.slug,
        name: request.name,
        language: request.language,
        passages: 0,
        words: 0,
        from_file: false,
        archived_at: None,
        created_at: now,
        updated_at: now,
    };
    let insert = async |conn: Conn<'_>| knowledge_bases::insert(conn, &base).await;
    if services.db.write(base.workspace, insert).await.map_err(write_error)? {
        return Ok(base);
    }
    Err(Error::Conflict(format!("There is a knowledge base with the slug '{}' already.", base.slug)))
}

/// The base with this id, as it was sent, and the progress of its embedding.
pub async fn read(services: &Services, account: &Account, name: &str) -> Result<KnowledgeBaseDetails, Error> {
    let base = resources::find::<KnowledgeBase>(services, account, name).await?;
    let count = async |conn: Conn<'_>| count_embedded(services, conn, &base, None).await;
    let embedded = services.db.read(base.workspace, count).await?;
    Ok(KnowledgeBaseDetails { base, embedded })
}

/// Changes or removes the name of a base.
pub async fn rename(
    services: &Services,
    account: &Account,
    name: &str,
    to: Option<String>,
) -> Result<KnowledgeBase, Error> {
    let now = services.clock.now();
    update(services, account, name, |base| KnowledgeBase { name: to.clone(), updated_at: now, ..base }).await
}

/// Deletes a base and returns it. It is not found any more, and its documents are removed in the background.
pub async fn delete(services: &Services, account: &Account, name: &str) -> Result<KnowledgeBase, Error> {
    let now = services.clock.now();
    update(services, account, name, |base| KnowledgeBase { archived_at: Some(now), updated_at: now, ..base })
        .await
}

/// A search with validated fields.
#[derive(Debug)]
pub struct SearchRequest {
    pub query: String,
    /// The maximum number of passages.
    pub limit: usize,
    pub by: SearchMode,
}

/// The best matching passages, best first.
pub async fn search(
    services: &Services,
    account: &Account,
    name: &str,
    request: &SearchRequest,
) -> Result<Vec<Hit>, Error> {
    let base = resources::find::<KnowledgeBase>(services, account, name).await?;
    if request.by == SearchMode::Vectors && services.tools.searcher.model().is_none() {
        let text = "Field 'by' must not be vectors: no embeddings endpoint is configured.";
        return Err(Error::invalid("by", text));
    }
    Ok(services.tools.searcher.find(&base, &request.query, request.limit, request.by).await?)
}

/// How many passages of a base, or of one of its documents, have a vector of the configured model.
async fn count_embedded(
    services: &Services,
    conn: Conn<'_>,
    base: &KnowledgeBase,
    document: Option<DocumentId>,
) -> Result<Option<i64>, StoreError> {
    let Some(model) = services.tools.searcher.model() else { return Ok(None) };
    let embedded = embedding_jobs::count_embedded(conn, base.workspace, base.id, document, model).await?;
    Ok(Some(embedded))
}

async fn update(
    services: &Services,
    account: &Account,
    name: &str,
    to: impl Fn(KnowledgeBase) -> KnowledgeBase,
) -> Result<KnowledgeBase, Error> {
    let id = KnowledgeBaseId::parse(name)?;
    let write = async |mut conn: Conn<'_>| {
        let base = match lock(conn.reborrow(), account.workspace, id, name).await? {
            Ok(base) => base,
            Err(error) => return Ok(Err(error)),
        };
        if base.from_file {
            let text =
                format!("The knowledge base '{}' is set up by a workspace file: change it there.", base.slug);
            return Ok(Err(Error::Conflict(text)));
        }
        let base = to(base);
        knowledge_bases::update(conn, &base).await?;
        Ok(Ok(base))
    };
    services.db.write(account.workspace, write).await.map_err(write_error)?
}

/// Locks and returns a base; the inner error means that it does not exist.
async fn lock(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
    name: &str,
) -> Result<Result<KnowledgeBase, Error>, StoreError> {
    Ok(require_active(knowledge_bases::lock(conn, workspace, id).await?, name))
}

fn require_active(found: Option<KnowledgeBase>, name: &str) -> Result<KnowledgeBase, Error> {
    found.filter(|base| base.archived_at.is_none()).ok_or_else(|| KnowledgeBaseId::not_found(name))
}

/// A write that failed after it was sent may have been committed.
pub(in crate::service) fn write_error(error: StoreError) -> Error {
    if error.is_transient() {
        return Error::Unavailable { outcome_unknown: true, source: Some(Box::new(error)) };
    }
    error.into()
}
