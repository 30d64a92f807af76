//! The knowledge bases of a file.

use super::check::{Slugs, check_slug, check_text};
use super::document::{Document, WorkspaceFileError};
use super::raw::{DocumentIn, KnowledgeBaseIn};
use super::{FileDocument, FileKnowledgeBase, FileSource};
use crate::domain::knowledge::{
    Format, Language, MAX_TEXT, URL_REQUIREMENT, is_slug, slugify, title_error, web_url,
};

const MAX_NAME: usize = 200;
const MAX_PATH: usize = 4096;

pub(super) fn check(
    document: &Document<'_>,
    raw: Vec<KnowledgeBaseIn>,
) -> Result<Vec<FileKnowledgeBase>, WorkspaceFileError> {
    let mut slugs = Slugs::new(document, "knowledge_bases");
    let mut bases = Vec::new();
    for (index, base) in raw.into_iter().enumerate() {
        slugs.add(index, &base.slug)?;
        let path = |key: &str| format!("knowledge_bases[{index}].{key}");
        if let Some(name) = &base.name {
            check_text(document, &path("name"), name, MAX_NAME)?;
        }
        let language = match base.language.as_deref() {
            None => Language::English,
            Some(word) => word.parse().map_err(|_| {
                let problem = format!("\"{word}\" is none of: {}", Language::names());
                document.error(&path("language"), problem)
            })?,
        };
        let mut documents: Vec<FileDocument> = Vec::new();
        for (at, raw) in base.documents.into_iter().enumerate() {
            let path = path(&format!("documents[{at}]"));
            let checked = check_document(document, &path, raw)?;
            if documents.iter().any(|other| other.slug == checked.slug) {
                let problem = format!("\"{}\" is there twice: give one another slug", checked.slug);
                return Err(document.error(&path, problem));
            }
            documents.push(checked);
        }
        bases.push(FileKnowledgeBase { slug: base.slug, name: base.name, language, documents });
    }
    Ok(bases)
}

fn check_document(
    document: &Document<'_>,
    path: &str,
    raw: DocumentIn,
) -> Result<FileDocument, WorkspaceFileError> {
    let key = |key: &str| format!("{path}.{key}");
    check_text(document, &key("title"), &raw.title, usize::MAX)?;
    if let Some(error) = title_error(&raw.title) {
        return Err(document.error(&key("title"), error));
    }
    let url = raw.url.map(|url| web_url(&url).ok_or_else(|| document.error(&key("url"), URL_REQUIREMENT)));
    let slug = match raw.slug {
        Some(slug) => {
            check_slug(document, path, &slug)?;
            if !is_slug(&slug) {
                return Err(document.error(&key("slug"), "an id is no slug"));
            }
            slug
        }
        None => {
            slugify(&raw.title).ok_or_else(|| document.error(path, "its title makes no slug: give it one"))?
        }
    };
    let source = match (raw.text, raw.path) {
        (Some(text), None) => {
            check_text(document, &key("text"), &text, MAX_TEXT)?;
            FileSource::Text(text)
        }
        (None, Some(file)) => {
            check_text(document, &key("path"), &file, MAX_PATH)?;
            let format = Format::from_file_name(&file).ok_or_else(|| {
                let problem = "its name does not end in one of: .md, .txt, .html, .htm, .pdf";
                document.error(&key("path"), problem)
            })?;
            FileSource::Path(file, format)
        }
        (Some(_), Some(_)) => return Err(document.error(path, "it has text and path: one of them is wanted")),
        (None, None) => return Err(document.error(path, "text or path is missing")),
    };
    let location = document.location(path);
    Ok(FileDocument { slug, title: raw.title, url: url.transpose()?, source, location })
}
