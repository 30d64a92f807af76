//! Knowledge bases, as the platform door sets them up and tries them. Their documents are in [`documents`].

mod child;
pub mod documents;
mod make_ready;

pub use child::read_as_child;
pub use make_ready::{Readers, Source, Unready};

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::error::{Error, Thing};
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Base, Hit, Language, SearchBy};
use crate::store::{Conn, StoreError, embedding_work, knowledge_bases};

/// A base to be made; its fields were checked.
#[derive(Debug)]
pub struct Wanted {
    pub slug: String,
    pub name: Option<String>,
    pub language: Language,
}

/// A base, and how far it is embedded.
#[derive(Debug)]
pub struct WithEmbedded {
    pub base: Base,
    /// How many of its passages have a vector; None where no endpoint is configured.
    pub embedded: Option<i64>,
}

/// Makes a base.
pub async fn create(services: &Services, account: &Account, wanted: Wanted) -> Result<Base, Error> {
    let now = services.clock.now();
    let base = Base {
        workspace: account.workspace,
        id: KnowledgeBaseId(services.ids.ordered(services.clock.as_ref())),
        slug: wanted.slug,
        name: wanted.name,
        language: wanted.language,
        passages: 0,
        words: 0,
        from_file: false,
        archived_at: None,
        created_at: now,
        updated_at: now,
    };
    let insert = async |conn: Conn<'_>| knowledge_bases::insert(conn, &base).await;
    if services.db.writing(insert).await.map_err(unknown_if_away)? {
        return Ok(base);
    }
    Err(Error::Conflict(format!("There is a knowledge base with the slug '{}' already.", base.slug)))
}

/// The base of the account's workspace that has this id, as it was sent.
pub async fn find(services: &Services, account: &Account, name: &str) -> Result<Base, Error> {
    let id = name.parse().map_err(|_| not_found(name))?;
    let read = async |conn: Conn<'_>| knowledge_bases::find(conn, account.workspace, id).await;
    in_use(services.db.reading(read).await?, name)
}

/// The same, and how far it is embedded.
pub async fn read(services: &Services, account: &Account, name: &str) -> Result<WithEmbedded, Error> {
    let base = find(services, account, name).await?;
    let embedded = services.db.reading(async |conn| embedded(services, conn, &base, None).await).await?;
    Ok(WithEmbedded { base, embedded })
}

/// At most `limit` bases after one, the oldest first.
pub async fn list(
    services: &Services,
    account: &Account,
    after: Option<KnowledgeBaseId>,
    limit: usize,
) -> Result<Page<Base, KnowledgeBaseId>, Error> {
    let ask = page::rows(limit);
    let read = async |conn: Conn<'_>| knowledge_bases::list(conn, account.workspace, after, ask).await;
    Ok(Page::cut(services.db.reading(read).await?, limit, |base| base.id))
}

/// Gives it another name, or none.
pub async fn rename(
    services: &Services,
    account: &Account,
    name: &str,
    to: Option<String>,
) -> Result<Base, Error> {
    let now = services.clock.now();
    change(services, account, name, |base| Base { name: to.clone(), updated_at: now, ..base }).await
}

/// Deletes it: it is known no more, and its documents are removed by and by. As it was.
pub async fn delete(services: &Services, account: &Account, name: &str) -> Result<Base, Error> {
    let now = services.clock.now();
    change(services, account, name, |base| Base { archived_at: Some(now), updated_at: now, ..base }).await
}

/// What is looked for; its fields were checked.
#[derive(Debug)]
pub struct Asked {
    pub query: String,
    /// How many passages at most.
    pub limit: usize,
    pub by: SearchBy,
}

/// The passages that fit best, the best first.
pub async fn search(
    services: &Services,
    account: &Account,
    name: &str,
    asked: &Asked,
) -> Result<Vec<Hit>, Error> {
    let base = find(services, account, name).await?;
    if asked.by == SearchBy::Vectors && services.tools.searcher.model().is_none() {
        let text = "Field 'by' must not be vectors: no embeddings endpoint is configured.";
        return Err(Error::invalid("by", text));
    }
    Ok(services.tools.searcher.find(&base, &asked.query, asked.limit, asked.by).await?)
}

/// How many passages of a base, or of one document in it, have a vector of the model that is configured.
async fn embedded(
    services: &Services,
    conn: Conn<'_>,
    base: &Base,
    document: Option<DocumentId>,
) -> Result<Option<i64>, StoreError> {
    let Some(model) = services.tools.searcher.model() else { return Ok(None) };
    let embedded = embedding_work::embedded(conn, base.workspace, base.id, document, model).await?;
    Ok(Some(embedded))
}

async fn change(
    services: &Services,
    account: &Account,
    name: &str,
    to: impl Fn(Base) -> Base,
) -> Result<Base, Error> {
    let id = name.parse().map_err(|_| not_found(name))?;
    let write = async |mut conn: Conn<'_>| {
        let base = match lock(conn.reborrow(), account.workspace, id, name).await? {
            Ok(base) => base,
            Err(refused) => return Ok(Err(refused)),
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
    services.db.writing(write).await.map_err(unknown_if_away)?
}

/// The base, locked; or that there is none.
async fn lock(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: KnowledgeBaseId,
    name: &str,
) -> Result<Result<Base, Error>, StoreError> {
    Ok(in_use(knowledge_bases::lock(conn, workspace, id).await?, name))
}

fn in_use(found: Option<Base>, name: &str) -> Result<Base, Error> {
    found.filter(|base| base.archived_at.is_none()).ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Error {
    Error::not_found(Thing::KnowledgeBase, name)
}

/// What failed after it was sent may have been written all the same.
fn unknown_if_away(error: StoreError) -> Error {
    let outcome_unknown = error.is_away();
    Error::Unavailable { outcome_unknown, source: Some(Box::new(error)) }
}
