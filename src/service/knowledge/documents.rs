//! The documents of a knowledge base: prepared first, then written in one transaction under the base's lock.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{DocumentSource, lock, require_active};
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, ResourceId as _};
use crate::domain::knowledge::{Document, KnowledgeBase, PreparedDocument, is_slug};
use crate::service::audit_log;
use crate::service::configuration::managed_by_file;
use crate::service::page::Page;
use crate::service::write_error::write_error;
use crate::service::{Services, resources};
use crate::store::knowledge::documents::{self, DocumentWrite};
use crate::store::knowledge::knowledge_bases;
use crate::store::{Conn, StoreError};

/// The maximum number of documents in a base, for documents added through the API.
const MAX_DOCUMENTS: i64 = 10_000;

/// Whether an existing document may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    Refuse,
    Replace,
}

/// A document with its Markdown.
#[derive(Debug)]
pub struct DocumentDetails {
    pub document: Document,
    pub text: String,
    /// How many of its passages have a vector; `None` if no endpoint is configured.
    pub embedded: Option<i64>,
}

/// Creates a document, or replaces the one with its slug in one transaction: a search sees either the old or the new one.
pub async fn put(
    services: &Services,
    account: &Account,
    base: &str,
    source: DocumentSource,
    on_conflict: OnConflict,
) -> Result<Document, Error> {
    let found = resources::find::<KnowledgeBase>(services, account, base).await?;
    let ready = services.document_extractor.ingest(account.workspace, source, found.language).await?;
    let id = DocumentId(services.ids.uuid_v7(services.clock.as_ref()));
    let now = services.clock.now();
    let write = async |mut conn: Conn<'_>| {
        let locked = match lock(conn.reborrow(), account.workspace, found.id, base).await? {
            Ok(locked) if locked.language == found.language => locked,
            Ok(_) => return Ok(Err(concurrent_change())),
            Err(error) => return Ok(Err(error)),
        };
        let (old, written) = match put_in_tx(conn.reborrow(), &locked, &ready, on_conflict, id, now).await? {
            Ok(written) => written,
            Err(error) => return Ok(Err(error)),
        };
        if old.as_ref() != Some(&written) {
            let action = if old.is_some() { AuditAction::Updated } else { AuditAction::Created };
            record(services, account, conn, action, (old.as_ref(), Some(&written))).await?;
        }
        Ok(Ok(written))
    };
    let _permit = services.document_write_limiter.acquire(account.workspace).await?;
    let written = services.db.write(account.workspace, write).await.map_err(write_error)?;
    services.documents_changed.notify_one();
    written
}

/// Records a change of a document: it before and after. The digest tells whether its text has changed.
async fn record(
    services: &Services,
    account: &Account,
    conn: Conn<'_>,
    action: AuditAction,
    (before, after): (Option<&Document>, Option<&Document>),
) -> Result<(), StoreError> {
    let Some(document) = after.or(before) else { return Ok(()) };
    let object = AuditObject::new(ObjectKind::Document, document.id, Some(&document.slug));
    let entry = AuditEntry::new(document.workspace, &account.actor, action, object);
    let fields = |document: Option<&Document>| {
        document.map(|document| {
            json!({
                "knowledge_base_id": document.base,
                "slug": document.slug,
                "title": document.title,
                "url": document.url,
                "format": document.format,
                "digest": BASE64_STANDARD.encode(&document.digest),
            })
        })
    };
    let (before, after) = (fields(before).unwrap_or_default(), fields(after).unwrap_or_default());
    audit_log::record(conn, services.clock.as_ref(), &services.ids, &entry.with_changes(before, after)).await
}

/// Writes a document, and returns it before and after; they are equal if nothing changes.
async fn put_in_tx(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    ready: &PreparedDocument,
    on_conflict: OnConflict,
    id: DocumentId,
    now: Micros,
) -> Result<Result<(Option<Document>, Document), Error>, StoreError> {
    let old = documents::find_by_slug(conn.reborrow(), base.workspace, base.id, &ready.slug).await?;
    match &old {
        Some(old) if old.from_file => return Ok(Err(file_managed_error(old))),
        Some(old) if on_conflict == OnConflict::Refuse => {
            let text = format!("There is a document with the slug '{}' already: PUT replaces it.", old.slug);
            return Ok(Err(Error::Conflict(text)));
        }
        Some(old) if old.digest == ready.digest => return Ok(Ok((Some(old.clone()), old.clone()))),
        None if documents::count(conn.reborrow(), base.workspace, base.id).await? >= MAX_DOCUMENTS => {
            let text = format!("A knowledge base takes {MAX_DOCUMENTS} documents at most.");
            return Ok(Err(Error::Conflict(text)));
        }
        Some(_) | None => {}
    }
    let id = old.as_ref().map_or(id, |old| old.id);
    let written = DocumentWrite { id, prepared: ready, from_file: false, now };
    let document = documents::put(conn, base, old.as_ref(), written).await?;
    Ok(Ok((old, document)))
}

/// At most `limit` documents after one, the oldest first.
pub async fn list(
    services: &Services,
    account: &Account,
    base: &str,
    after: Option<DocumentId>,
    limit: usize,
) -> Result<Page<Document, DocumentId>, Error> {
    let base = resources::find::<KnowledgeBase>(services, account, base).await?;
    let read = async |conn: Conn<'_>, rows| documents::list(conn, base.workspace, base.id, after, rows).await;
    Page::read(&services.db, base.workspace, limit, read, |document| document.id).await
}

/// A document by its id or its slug, as it was sent.
pub async fn find(
    services: &Services,
    account: &Account,
    base: &str,
    name: &str,
) -> Result<DocumentDetails, Error> {
    let base = resources::find::<KnowledgeBase>(services, account, base).await?;
    let read = async |mut conn: Conn<'_>| {
        let Some(document) = find_in_tx(conn.reborrow(), &base, name).await? else { return Ok(None) };
        let text = documents::text(conn.reborrow(), base.workspace, document.id).await?;
        let embedded = super::count_embedded(services, conn, &base, Some(document.id)).await?;
        Ok(text.map(|text| DocumentDetails { document, text, embedded }))
    };
    services.db.read(base.workspace, read).await?.ok_or_else(|| DocumentId::not_found(name))
}

/// Deletes a document and returns it.
pub async fn delete(
    services: &Services,
    account: &Account,
    base: &str,
    name: &str,
) -> Result<Document, Error> {
    let id = KnowledgeBaseId::parse(base)?;
    let write = async |mut conn: Conn<'_>| {
        let locked = match require_active(
            knowledge_bases::lock(conn.reborrow(), account.workspace, id).await?,
            base,
        ) {
            Ok(locked) => locked,
            Err(error) => return Ok(Err(error)),
        };
        let Some(document) = find_in_tx(conn.reborrow(), &locked, name).await? else {
            return Ok(Err(DocumentId::not_found(name)));
        };
        if document.from_file {
            return Ok(Err(file_managed_error(&document)));
        }
        documents::remove(conn.reborrow(), &locked, &document).await?;
        record(services, account, conn, AuditAction::Deleted, (Some(&document), None)).await?;
        Ok(Ok(document))
    };
    let _permit = services.document_write_limiter.acquire(account.workspace).await?;
    services.db.write(account.workspace, write).await.map_err(write_error)?
}

async fn find_in_tx(
    conn: Conn<'_>,
    base: &KnowledgeBase,
    name: &str,
) -> Result<Option<Document>, StoreError> {
    match name.parse() {
        Ok(id) => documents::find(conn, base.workspace, base.id, id).await,
        Err(_) if is_slug(name) => documents::find_by_slug(conn, base.workspace, base.id, name).await,
        // The database may not even accept such a text.
        Err(_) => Ok(None),
    }
}

fn file_managed_error(document: &Document) -> Error {
    managed_by_file("document", &document.slug)
}

fn concurrent_change() -> Error {
    Error::Conflict("The knowledge base was given another language meanwhile. Please retry.".to_owned())
}
