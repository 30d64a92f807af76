//! Documents. A document and its passages are replaced in one transaction under the base's lock, so a search sees either
//! the old document or the new one.

use uuid::Uuid;

use super::passages::CountChanges;
use super::{embedding_jobs, passage_vectors, passages};
use crate::domain::clock::Micros;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Document, KnowledgeBase, PreparedDocument, PreparedPassage};
use crate::store::{Conn, StoreError, from_row, on_conn};

macro_rules! document_columns {
    () => {
        "workspace_id, id, base_id, slug, title, url, format, digest, passages, words, from_file, created_at, \
         updated_at"
    };
}

from_row!(Document, |row| Self {
    workspace: row.try_get("workspace_id")?,
    id: row.try_get("id")?,
    base: row.try_get("base_id")?,
    slug: row.try_get("slug")?,
    title: row.try_get("title")?,
    url: row.try_get("url")?,
    format: row.try_get("format")?,
    digest: row.try_get("digest")?,
    passages: row.try_get("passages")?,
    words: row.try_get("words")?,
    from_file: row.try_get("from_file")?,
    created_at: row.try_get("created_at")?,
    updated_at: row.try_get("updated_at")?,
});

/// A document of a base.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    id: DocumentId,
) -> Result<Option<Document>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        document_columns!(),
        " from documents where workspace_id = $1 and base_id = $2 and id = $3"
    );
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(workspace).bind(base).bind(id).fetch_optional(c).await?
    }))
}

/// A document of a base by its slug.
pub async fn find_by_slug(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    slug: &str,
) -> Result<Option<Document>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        document_columns!(),
        " from documents where workspace_id = $1 and base_id = $2 and slug = $3"
    );
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(FIND).bind(workspace).bind(base).bind(slug).fetch_optional(c).await?
    }))
}

/// The Markdown text of a document.
pub async fn text(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    id: DocumentId,
) -> Result<Option<String>, StoreError> {
    const TEXT: &str = "select text from documents where workspace_id = $1 and id = $2";
    let found: Option<(String,)> =
        on_conn!(conn, |c| sqlx::query_as(TEXT).bind(workspace).bind(id).fetch_optional(c).await?);
    Ok(found.map(|(text,)| text))
}

/// At most `limit` documents of a base, in order of age, after `after`.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    after: Option<DocumentId>,
    limit: i64,
) -> Result<Vec<Document>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        document_columns!(),
        " from documents where workspace_id = $1 and base_id = $2 and id > $3 order by id limit $4"
    );
    let after = after.map_or(Uuid::nil(), |id| id.0);
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(LIST).bind(workspace).bind(base).bind(after).bind(limit).fetch_all(c).await?
    }))
}

/// The number of documents of a base.
pub async fn count(conn: Conn<'_>, workspace: WorkspaceId, base: KnowledgeBaseId) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from documents where workspace_id = $1 and base_id = $2";
    let (count,): (i64,) =
        on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).bind(base).fetch_one(c).await?);
    Ok(count)
}

/// A document to write.
#[derive(Clone, Copy, Debug)]
pub struct DocumentWrite<'a> {
    pub id: DocumentId,
    pub prepared: &'a PreparedDocument,
    pub from_file: bool,
    pub now: Micros,
}

/// Writes documents of one locked base. [`DocumentWriter::finish`] updates the base's counts, once for all of them.
#[derive(Debug)]
pub struct DocumentWriter<'b> {
    base: &'b KnowledgeBase,
    changes: CountChanges,
}

impl<'b> DocumentWriter<'b> {
    #[must_use]
    pub fn new(base: &'b KnowledgeBase) -> Self {
        Self { base, changes: CountChanges::default() }
    }

    /// Inserts a document, or replaces `old` completely. Returns the new document.
    pub async fn put(
        &mut self,
        mut conn: Conn<'_>,
        old: Option<&Document>,
        write: DocumentWrite<'_>,
    ) -> Result<Document, StoreError> {
        let DocumentWrite { id, prepared, from_file, now } = write;
        let document = Document {
            workspace: self.base.workspace,
            id,
            base: self.base.id,
            slug: prepared.slug.clone(),
            title: prepared.title.clone(),
            url: prepared.url.clone(),
            format: prepared.format,
            digest: prepared.digest.to_vec(),
            passages: i64::try_from(prepared.passages.len()).unwrap_or(i64::MAX),
            words: prepared.passages.iter().map(PreparedPassage::word_count).sum(),
            from_file,
            created_at: old.map_or(now, |old| old.created_at),
            updated_at: now,
        };
        upsert(conn.reborrow(), &document, &prepared.text).await?;
        let texts = prepared.embedding_digests();
        let reusable = match old {
            Some(_) => passage_vectors::list_reusable(conn.reborrow(), self.base, id, &texts).await?,
            None => Vec::new(),
        };
        passages::replace(conn.reborrow(), self.base, id, &prepared.passages, &mut self.changes).await?;
        passage_vectors::restore(conn.reborrow(), self.base, id, &texts, &reusable).await?;
        embedding_jobs::enqueue(conn, self.base.workspace, id).await?;
        let (passages, words) = old.map_or((0, 0), |old| (old.passages, old.words));
        self.resize(document.passages - passages, document.words - words);
        Ok(document)
    }

    /// Removes a document.
    pub async fn remove(&mut self, mut conn: Conn<'_>, document: &Document) -> Result<(), StoreError> {
        const REMOVE: &str = "delete from documents where workspace_id = $1 and id = $2";
        passages::replace(conn.reborrow(), self.base, document.id, &[], &mut self.changes).await?;
        on_conn!(conn, |c| {
            sqlx::query(REMOVE).bind(self.base.workspace).bind(document.id).execute(c).await?;
        });
        self.resize(-document.passages, -document.words);
        Ok(())
    }

    /// Updates the counts of the base. Without this call they stay wrong.
    pub async fn finish(self, conn: Conn<'_>) -> Result<(), StoreError> {
        passages::recount(conn, self.base, self.changes).await
    }

    fn resize(&mut self, passages: i64, words: i64) {
        self.changes.passages += passages;
        self.changes.words += words;
    }
}

/// Inserts a document of a locked base, or replaces `old` completely, and updates the base's counts. Returns the new
/// document.
pub async fn put(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    old: Option<&Document>,
    write: DocumentWrite<'_>,
) -> Result<Document, StoreError> {
    let mut writer = DocumentWriter::new(base);
    let document = writer.put(conn.reborrow(), old, write).await?;
    writer.finish(conn).await?;
    Ok(document)
}

/// Removes a document of a locked base, and updates the base's counts.
pub async fn remove(mut conn: Conn<'_>, base: &KnowledgeBase, document: &Document) -> Result<(), StoreError> {
    let mut writer = DocumentWriter::new(base);
    writer.remove(conn.reborrow(), document).await?;
    writer.finish(conn).await
}

async fn upsert(conn: Conn<'_>, document: &Document, text: &str) -> Result<(), StoreError> {
    const UPSERT: &str = concat!(
        "insert into documents (",
        document_columns!(),
        ", text) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         on conflict (workspace_id, id) do update set title = excluded.title, url = excluded.url, \
         format = excluded.format, digest = excluded.digest, passages = excluded.passages, \
         words = excluded.words, from_file = excluded.from_file, updated_at = excluded.updated_at, \
         text = excluded.text"
    );
    on_conn!(conn, |c| {
        let query = sqlx::query(UPSERT).bind(document.workspace).bind(document.id).bind(document.base);
        let query = query.bind(&document.slug).bind(&document.title).bind(&document.url);
        let query = query.bind(document.format).bind(&document.digest).bind(document.passages);
        let query = query.bind(document.words).bind(document.from_file).bind(document.created_at);
        query.bind(document.updated_at).bind(text).execute(c).await?;
    });
    Ok(())
}
