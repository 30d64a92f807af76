//! Knowledge bases, as the platform door sets them up and tries them. Their documents are in [`documents`].

pub mod documents;
mod make_ready;

pub use make_ready::{Readers, Source, Unready};

use super::Services;
use super::page::{self, Page};
use crate::domain::account::Account;
use crate::domain::error::{Error, Thing};
use crate::domain::ids::{KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Base, Hit, Language};
use crate::store::{Conn, StoreError, knowledge_bases};
use crate::tools;

/// A base to be made; its fields were checked.
#[derive(Debug)]
pub struct Wanted {
    pub slug: String,
    pub name: Option<String>,
    pub language: Language,
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

/// The best `limit` passages for a query.
pub async fn search(
    services: &Services,
    account: &Account,
    name: &str,
    query: &str,
    limit: usize,
) -> Result<Vec<Hit>, Error> {
    let base = find(services, account, name).await?;
    Ok(tools::search_base(&services.db, &base, query, limit).await?)
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
