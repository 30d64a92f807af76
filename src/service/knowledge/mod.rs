//! Knowledge bases of the platform API: create, read, rename, delete and search. [`documents`] has their documents.

mod child;
pub mod documents;
mod ingest;

pub use child::{ALLOCATOR_RESERVE, child_command, read_as_child};
pub use ingest::{DocumentExtractor, DocumentSource, IngestError};

use serde_json::json;

use super::audit_log;
use super::configuration::managed_by_file;
use super::tools::users::name_users;
use super::write_error::write_error;
use super::{Services, resources};
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::error::Error;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, ResourceId as _, WorkspaceId};
use crate::domain::knowledge::{Hit, KnowledgeBase, Language, SearchMode};
use crate::domain::tool::Tool;
use crate::store::knowledge::{embedding_jobs, knowledge_bases};
use crate::store::{Conn, StoreError, workspaces};

/// Maximum number of knowledge bases of a workspace, for those that the API creates.
const MAX_BASES: i64 = 1000;

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
    let insert = async |mut conn: Conn<'_>| {
        workspaces::lock(conn.reborrow(), &[base.workspace].into()).await?;
        if knowledge_bases::count(conn.reborrow(), base.workspace).await? >= MAX_BASES {
            return Ok(Err(Error::Conflict(format!(
                "A workspace takes {MAX_BASES} knowledge bases at most."
            ))));
        }
        if !knowledge_bases::insert(conn.reborrow(), &base).await? {
            let text = format!("There is a knowledge base with the slug '{}' already.", base.slug);
            return Ok(Err(Error::Conflict(text)));
        }
        record(services, account, conn, AuditAction::Created, (None, Some(&base))).await?;
        Ok(Ok(()))
    };
    services.db.write(base.workspace, insert).await.map_err(write_error)??;
    Ok(base)
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
    let (id, workspace) = (KnowledgeBaseId::parse(name)?, account.workspace);
    let write = async |mut conn: Conn<'_>| {
        let old = match lock_own(conn.reborrow(), workspace, id, name).await? {
            Ok(old) => old,
            Err(error) => return Ok(Err(error)),
        };
        if old.name == to {
            return Ok(Ok(old));
        }
        let base = KnowledgeBase { name: to, updated_at: now, ..old.clone() };
        knowledge_bases::update(conn.reborrow(), &base).await?;
        record(services, account, conn, AuditAction::Updated, (Some(&old), Some(&base))).await?;
        Ok(Ok(base))
    };
    services.db.write(workspace, write).await.map_err(write_error)?
}

/// Deletes a base and returns it. It is not found any more, and its documents are removed in the background. One that tools use is not
/// deleted.
pub async fn delete(services: &Services, account: &Account, name: &str) -> Result<KnowledgeBase, Error> {
    let now = services.clock.now();
    let (id, workspace) = (KnowledgeBaseId::parse(name)?, account.workspace);
    let write = async |mut conn: Conn<'_>| {
        // First, as it guards the tools.
        workspaces::lock(conn.reborrow(), &[workspace].into()).await?;
        let old = match lock_own(conn.reborrow(), workspace, id, name).await? {
            Ok(old) => old,
            Err(error) => return Ok(Err(error)),
        };
        let is_user = |tool: &Tool| tool.config.knowledge_base() == Some(&id);
        if let Some(users) = name_users(conn.reborrow(), workspace, is_user).await? {
            let slug = &old.slug;
            let text =
                format!("The knowledge base '{slug}' is used by these tools: {users}. Archive them first.");
            return Ok(Err(Error::Conflict(text)));
        }
        let base = KnowledgeBase { archived_at: Some(now), updated_at: now, ..old };
        knowledge_bases::update(conn.reborrow(), &base).await?;
        record(services, account, conn, AuditAction::Deleted, (Some(&base), None)).await?;
        Ok(Ok(base))
    };
    services.db.write(workspace, write).await.map_err(write_error)?
}

/// Records a change of a base: it before and after.
async fn record(
    services: &Services,
    account: &Account,
    conn: Conn<'_>,
    action: AuditAction,
    (before, after): (Option<&KnowledgeBase>, Option<&KnowledgeBase>),
) -> Result<(), StoreError> {
    let Some(base) = after.or(before) else { return Ok(()) };
    let object = AuditObject::new(ObjectKind::KnowledgeBase, base.id, Some(&base.slug));
    let entry = AuditEntry::new(base.workspace, &account.actor, action, object);
    let fields = |base: Option<&KnowledgeBase>| {
        base.map(|base| json!({ "slug": base.slug, "name": base.name, "language": base.language }))
    };
    let (before, after) = (fields(before).unwrap_or_default(), fields(after).unwrap_or_default());
    audit_log::record(conn, services.clock.as_ref(), &services.ids, &entry.with_changes(before, after)).await
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
        return Err(Error::Conflict(text.to_owned()));
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

/// Locks and returns a base that the API may change; the inner error means that it does not exist, or that a file manages it.
async fn lock_own(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
    name: &str,
) -> Result<Result<KnowledgeBase, Error>, StoreError> {
    Ok(lock(conn, workspace, id, name).await?.and_then(|base| {
        if base.from_file {
            return Err(managed_by_file("knowledge base", &base.slug));
        }
        Ok(base)
    }))
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
