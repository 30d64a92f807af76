//! Documents. A document is replaced with its passages in the caller's transaction, beside the base's lock: a search
//! sees the old one or the new.

use sqlx::QueryBuilder;

use super::passages::CountChanges;
use super::{embedding_jobs, passage_vectors, passages};
use crate::domain::clock::Micros;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Document, Format, KnowledgeBase, PreparedDocument, PreparedPassage};
use crate::store::{Conn, StoreError, on_conn};

const COLUMNS: &str = "workspace_id, id, base_id, slug, title, url, format, digest, passages, words, from_file, \
    created_at, updated_at";

#[derive(sqlx::FromRow)]
struct DocumentRow {
    workspace_id: WorkspaceId,
    id: DocumentId,
    base_id: KnowledgeBaseId,
    slug: String,
    title: String,
    url: Option<String>,
    format: Format,
    digest: Vec<u8>,
    passages: i64,
    words: i64,
    from_file: bool,
    created_at: Micros,
    updated_at: Micros,
}

impl From<DocumentRow> for Document {
    fn from(row: DocumentRow) -> Self {
        Self {
            workspace: row.workspace_id,
            id: row.id,
            base: row.base_id,
            slug: row.slug,
            title: row.title,
            url: row.url,
            format: row.format,
            digest: row.digest,
            passages: row.passages,
            words: row.words,
            from_file: row.from_file,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A document of a base.
pub async fn find(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    id: DocumentId,
) -> Result<Option<Document>, StoreError> {
    let found: Option<DocumentRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from documents where workspace_id = ").push_bind(workspace);
        query.push(" and base_id = ").push_bind(base).push(" and id = ").push_bind(id);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Document::from))
}

/// A document of a base by its slug.
pub async fn find_by_slug(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    slug: &str,
) -> Result<Option<Document>, StoreError> {
    let found: Option<DocumentRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from documents where workspace_id = ").push_bind(workspace);
        query.push(" and base_id = ").push_bind(base).push(" and slug = ").push_bind(slug);
        query.build_query_as().fetch_optional(c).await?
    });
    Ok(found.map(Document::from))
}

/// A document's Markdown.
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

/// At most `limit` documents of a base, after one, in order of age.
pub async fn list(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    after: Option<DocumentId>,
    limit: i64,
) -> Result<Vec<Document>, StoreError> {
    let rows: Vec<DocumentRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select ");
        query.push(COLUMNS).push(" from documents where workspace_id = ").push_bind(workspace);
        query.push(" and base_id = ").push_bind(base);
        if let Some(after) = after {
            query.push(" and id > ").push_bind(after);
        }
        query.push(" order by id limit ").push_bind(limit);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Document::from).collect())
}

/// How many documents a base has.
pub async fn count(conn: Conn<'_>, workspace: WorkspaceId, base: KnowledgeBaseId) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from documents where workspace_id = $1 and base_id = $2";
    let (count,): (i64,) =
        on_conn!(conn, |c| sqlx::query_as(COUNT).bind(workspace).bind(base).fetch_one(c).await?);
    Ok(count)
}

/// What is to be written: the document as it then is, and what it is made of.
#[derive(Clone, Copy, Debug)]
pub struct DocumentWrite<'a> {
    pub id: DocumentId,
    pub prepared: &'a PreparedDocument,
    pub from_file: bool,
    pub now: Micros,
}

/// Writes documents of one base that is locked. The base's counts change at the end, at once.
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

    /// Makes a document, or replaces `old` whole. As it now is.
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

    /// Counts what was written. Without it the base's counts are wrong.
    pub async fn finish(self, conn: Conn<'_>) -> Result<(), StoreError> {
        passages::recount(conn, self.base, self.changes).await
    }

    fn resize(&mut self, passages: i64, words: i64) {
        self.changes.passages += passages;
        self.changes.words += words;
    }
}

/// Makes a document of a base that is locked, or replaces `old` whole, and keeps the base's counts. As it now is.
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

/// Removes a document of a base that is locked.
pub async fn remove(mut conn: Conn<'_>, base: &KnowledgeBase, document: &Document) -> Result<(), StoreError> {
    let mut writer = DocumentWriter::new(base);
    writer.remove(conn.reborrow(), document).await?;
    writer.finish(conn).await
}

async fn upsert(conn: Conn<'_>, document: &Document, text: &str) -> Result<(), StoreError> {
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("insert into documents (");
        query.push(COLUMNS).push(", text) values (");
        let mut values = query.separated(", ");
        values.push_bind(document.workspace).push_bind(document.id).push_bind(document.base);
        values.push_bind(&document.slug).push_bind(&document.title).push_bind(&document.url);
        values.push_bind(document.format).push_bind(&document.digest).push_bind(document.passages);
        values.push_bind(document.words).push_bind(document.from_file).push_bind(document.created_at);
        values.push_bind(document.updated_at).push_bind(text);
        query.push(
            ") on conflict (workspace_id, id) do update set title = excluded.title, url = excluded.url, \
             format = excluded.format, digest = excluded.digest, passages = excluded.passages, \
             words = excluded.words, from_file = excluded.from_file, updated_at = excluded.updated_at, \
             text = excluded.text",
        );
        query.build().execute(c).await?;
    });
    Ok(())
}
