//! The knowledge bases of a file and their documents. What a file made and this one does not have is archived (a
//! base) or removed (a document); what the API made is let be. A document that has not changed is not written again.

use std::collections::HashMap;

use super::{Action, ApplyError, Before, Run, refuse_made_by_api};
use crate::domain::ids::{DocumentId, KnowledgeBaseId};
use crate::domain::knowledge::{Base, Document, Ready};
use crate::domain::workspace_file::FileBase;
use crate::store::documents::{self, Writing, Written};
use crate::store::{Conn, StoreError, knowledge_bases};

const BASE: &str = "knowledge base";
const DOCUMENT: &str = "document";

impl Run<'_> {
    /// The ids of the bases that the file's tools may name, by slug: its own, and those that the API made.
    pub(super) async fn put_knowledge_bases(
        &mut self,
        mut conn: Conn<'_>,
        before: &Before,
    ) -> Result<HashMap<String, KnowledgeBaseId>, ApplyError> {
        let prepared = self.prepared;
        let mut ids = HashMap::new();
        for (file, ready) in prepared.file.knowledge_bases.iter().zip(&prepared.documents) {
            let old = before.knowledge_bases.iter().find(|base| base.slug == file.slug);
            refuse_made_by_api(BASE, &file.slug, old.is_none_or(|old| old.from_file))?;
            let base = self.put_base(conn.reborrow(), file, old).await?;
            self.put_documents(conn.reborrow(), &base, old, ready).await?;
            ids.insert(file.slug.clone(), base.id);
        }
        let is_made_by_api = |base: &&Base| !base.from_file && base.archived_at.is_none();
        for base in before.knowledge_bases.iter().filter(is_made_by_api) {
            ids.insert(base.slug.clone(), base.id);
        }
        let is_gone =
            |base: &&Base| base.from_file && base.archived_at.is_none() && !ids.contains_key(&base.slug);
        for base in before.knowledge_bases.iter().filter(is_gone) {
            let archived = Base { archived_at: Some(self.now), updated_at: self.now, ..base.clone() };
            knowledge_bases::update(conn.reborrow(), &archived).await?;
            self.changed(BASE, &base.slug, Action::Archived);
        }
        Ok(ids)
    }

    async fn put_base(
        &mut self,
        conn: Conn<'_>,
        file: &FileBase,
        old: Option<&Base>,
    ) -> Result<Base, ApplyError> {
        let Some(old) = old else {
            let base = Base {
                workspace: self.workspace,
                id: KnowledgeBaseId(self.site.ids.ordered(self.site.clock)),
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
            self.changed(BASE, &file.slug, Action::Made);
            return Ok(base);
        };
        let keys = [("name", old.name != file.name), ("language", old.language != file.language)];
        let keys: Vec<_> =
            keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect();
        let action = if old.archived_at.is_some() {
            Action::Restored
        } else if keys.is_empty() {
            return Ok(old.clone());
        } else {
            Action::Changed(keys)
        };
        let (name, language) = (file.name.clone(), file.language);
        let base = Base { name, language, archived_at: None, updated_at: self.now, ..old.clone() };
        knowledge_bases::update(conn, &base).await?;
        self.changed(BASE, &file.slug, action);
        Ok(base)
    }

    async fn put_documents(
        &mut self,
        mut conn: Conn<'_>,
        base: &Base,
        old_base: Option<&Base>,
        ready: &[Ready],
    ) -> Result<(), ApplyError> {
        let there = documents_of(conn.reborrow(), base).await?;
        if old_base.is_some_and(|old| old.language != base.language) {
            refuse_another_language(base, &there)?;
        }
        let mut writing = Writing::to(base);
        for ready in ready {
            let old = there.iter().find(|old| old.slug == ready.slug);
            let name = format!("{}/{}", base.slug, ready.slug);
            refuse_made_by_api(DOCUMENT, &name, old.is_none_or(|old| old.from_file))?;
            if old.is_some_and(|old| old.digest == ready.digest) {
                continue;
            }
            let id = old.map_or_else(|| DocumentId(self.site.ids.ordered(self.site.clock)), |old| old.id);
            let written = Written { id, ready, from_file: true, now: self.now };
            writing.put(conn.reborrow(), old, written).await?;
            let action = match old {
                Some(old) => {
                    let was = old_base.map_or(base.language, |old| old.language);
                    let keys = ready.differing(old, was, base.language);
                    Action::Changed(keys.into_iter().map(str::to_owned).collect())
                }
                None => Action::Made,
            };
            self.changed(DOCUMENT, name, action);
        }
        let stays = |old: &Document| !old.from_file || ready.iter().any(|ready| ready.slug == old.slug);
        for old in there.iter().filter(|old| !stays(old)) {
            writing.remove(conn.reborrow(), old).await?;
            self.changed(DOCUMENT, format!("{}/{}", base.slug, old.slug), Action::Removed);
        }
        Ok(writing.finish(conn).await?)
    }
}

/// All documents of a base.
async fn documents_of(mut conn: Conn<'_>, base: &Base) -> Result<Vec<Document>, StoreError> {
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

/// What the API added would have to be cut and its words found anew, while all of this is locked.
fn refuse_another_language(base: &Base, there: &[Document]) -> Result<(), ApplyError> {
    let of_api = there.iter().filter(|document| !document.from_file).count();
    if of_api == 0 {
        return Ok(());
    }
    Err(ApplyError::Refused(format!(
        "the language of knowledge base \"{}\" cannot be changed, for it has documents ({of_api}) that were added \
         through the API: delete them first, or give the file's base another slug",
        base.slug
    )))
}
