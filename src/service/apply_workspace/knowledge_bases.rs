//! The knowledge bases of a file and their documents. Entries that a file created and that are no longer in it are
//! archived (knowledge bases) or removed (documents); documents added through the API stay. Unchanged documents are not
//! written again.

use std::collections::HashMap;

use super::changes::differing;
use super::{Action, Applier, ApplyError, CurrentState, Values, reject_api_owned};
use crate::domain::audit::ObjectKind;
use crate::domain::ids::{DocumentId, KnowledgeBaseId};
use crate::domain::knowledge::{Document, KnowledgeBase, PreparedDocument};
use crate::formats::workspace_file::FileKnowledgeBase;
use crate::store::knowledge::documents::{self, DocumentWrite, DocumentWriter};
use crate::store::knowledge::knowledge_bases;
use crate::store::{Conn, StoreError};

const BASE: &str = "knowledge base";
const DOCUMENT: &str = "document";

impl Applier<'_> {
    /// Writes the file's knowledge bases. Returns the ids of all that its tools may refer to, by slug: its own, and those
    /// created through the API.
    pub(super) async fn put_knowledge_bases(
        &mut self,
        mut conn: Conn<'_>,
        current: &CurrentState,
    ) -> Result<HashMap<String, KnowledgeBaseId>, ApplyError> {
        let prepared = self.prepared;
        let mut ids = HashMap::new();
        for (file, ready) in prepared.file.knowledge_bases.iter().zip(&prepared.documents) {
            let old = current.knowledge_bases.iter().find(|base| base.slug == file.slug);
            reject_api_owned(BASE, &file.slug, old.is_none_or(|old| old.from_file))?;
            let base = self.put_base(conn.reborrow(), file, old).await?;
            self.record_id(BASE, &file.slug, base.id);
            self.put_documents(conn.reborrow(), &base, old, ready).await?;
            ids.insert(file.slug.clone(), base.id);
        }
        let is_api_owned = |base: &&KnowledgeBase| !base.from_file && base.archived_at.is_none();
        for base in current.knowledge_bases.iter().filter(is_api_owned) {
            ids.insert(base.slug.clone(), base.id);
        }
        let is_removed = |base: &&KnowledgeBase| {
            base.from_file && base.archived_at.is_none() && !ids.contains_key(&base.slug)
        };
        for base in current.knowledge_bases.iter().filter(is_removed) {
            let archived =
                KnowledgeBase { archived_at: Some(self.now), updated_at: self.now, ..base.clone() };
            knowledge_bases::update(conn.reborrow(), &archived).await?;
            self.record_change(
                ObjectKind::KnowledgeBase,
                base.id,
                &base.slug,
                Action::Archived,
                Values::NONE,
            );
        }
        Ok(ids)
    }

    async fn put_base(
        &mut self,
        conn: Conn<'_>,
        file: &FileKnowledgeBase,
        old: Option<&KnowledgeBase>,
    ) -> Result<KnowledgeBase, ApplyError> {
        let Some(old) = old else {
            let base = KnowledgeBase {
                workspace: self.workspace,
                id: KnowledgeBaseId(self.context.ids.uuid_v7(self.context.clock)),
                slug: file.slug.clone(),
                name: file.name.clone(),
                language: file.language,
                passages: 0,
                words: 0,
                from_file: true,
                archived_at: None,
                created_at: self.now,
                updated_at: self.now,
            };
            knowledge_bases::insert(conn, &base).await?;
            self.record_change(ObjectKind::KnowledgeBase, base.id, &file.slug, Action::Created, Values::NONE);
            return Ok(base);
        };
        let keys = differing([("name", old.name != file.name), ("language", old.language != file.language)]);
        let Some(action) = Action::of(Some(old.archived_at.is_some()), keys) else {
            return Ok(old.clone());
        };
        let (name, language) = (file.name.clone(), file.language);
        let base = KnowledgeBase { name, language, archived_at: None, updated_at: self.now, ..old.clone() };
        knowledge_bases::update(conn, &base).await?;
        self.record_change(ObjectKind::KnowledgeBase, base.id, &file.slug, action, Values::NONE);
        Ok(base)
    }

    async fn put_documents(
        &mut self,
        mut conn: Conn<'_>,
        base: &KnowledgeBase,
        old_base: Option<&KnowledgeBase>,
        ready: &[PreparedDocument],
    ) -> Result<(), ApplyError> {
        let existing = list_documents(conn.reborrow(), base).await?;
        if old_base.is_some_and(|old| old.language != base.language) {
            reject_language_change(base, &existing)?;
        }
        let mut writing = DocumentWriter::new(base);
        for ready in ready {
            let old = existing.iter().find(|old| old.slug == ready.slug);
            let name = format!("{}/{}", base.slug, ready.slug);
            reject_api_owned(DOCUMENT, &name, old.is_none_or(|old| old.from_file))?;
            if old.is_some_and(|old| old.digest == ready.digest) {
                continue;
            }
            let id =
                old.map_or_else(|| DocumentId(self.context.ids.uuid_v7(self.context.clock)), |old| old.id);
            let written = DocumentWrite { id, prepared: ready, from_file: true, now: self.now };
            writing.put(conn.reborrow(), old, written).await?;
            let action = match old {
                Some(old) => {
                    let old_language = old_base.map_or(base.language, |old| old.language);
                    let keys = ready.changed_fields(old, old_language, base.language);
                    Action::Changed(keys.into_iter().map(str::to_owned).collect())
                }
                None => Action::Created,
            };
            self.record_change(ObjectKind::Document, id, name, action, Values::NONE);
        }
        let is_retained = |old: &Document| !old.from_file || ready.iter().any(|ready| ready.slug == old.slug);
        for old in existing.iter().filter(|old| !is_retained(old)) {
            writing.remove(conn.reborrow(), old).await?;
            let name = format!("{}/{}", base.slug, old.slug);
            self.record_change(ObjectKind::Document, old.id, name, Action::Removed, Values::NONE);
        }
        Ok(writing.finish(conn).await?)
    }
}

/// All documents of a base.
async fn list_documents(mut conn: Conn<'_>, base: &KnowledgeBase) -> Result<Vec<Document>, StoreError> {
    const PAGE: i64 = 1000;
    let mut all: Vec<Document> = Vec::new();
    loop {
        let after = all.last().map(|last| last.id);
        let page = documents::list(conn.reborrow(), base.workspace, base.id, after, PAGE).await?;
        let was_full = page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        all.extend(page);
        if !was_full {
            return Ok(all);
        }
    }
}

/// A language change is refused if documents were added through the API, because they would have to be chunked and
/// indexed again under the locks.
fn reject_language_change(base: &KnowledgeBase, existing: &[Document]) -> Result<(), ApplyError> {
    let api_documents = existing.iter().filter(|document| !document.from_file).count();
    if api_documents == 0 {
        return Ok(());
    }
    Err(ApplyError::Refused(format!(
        "the language of knowledge base \"{}\" cannot be changed, for it has documents ({api_documents}) that were added \
         through the API: delete them first, or give the file's base another slug",
        base.slug
    )))
}
