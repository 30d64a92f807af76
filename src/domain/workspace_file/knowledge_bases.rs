//! The knowledge bases of a file.

use super::check::{Slugs, check_slug, check_text};
use super::document::{Document, FileFault};
use super::written::{BaseIn, DocumentIn};
use super::{FileBase, FileDocument, FileSource};
use crate::domain::knowledge::{
    Format, Language, MAX_TEXT, URL_WANTED, is_slug, slug_of, title_fault, web_url,
};

const MAX_NAME: usize = 200;
const MAX_PATH: usize = 4096;

pub(super) fn check(document: &Document<'_>, written: Vec<BaseIn>) -> Result<Vec<FileBase>, FileFault> {
    let mut slugs = Slugs::of(document, "knowledge_bases");
    let mut bases = Vec::new();
    for (index, base) in written.into_iter().enumerate() {
        slugs.add(index, &base.slug)?;
        let path = |key: &str| format!("knowledge_bases[{index}].{key}");
        if let Some(name) = &base.name {
            check_text(document, &path("name"), name, MAX_NAME)?;
        }
        let language = match base.language.as_deref() {
            None => Language::English,
            Some(word) => word.parse().map_err(|_| {
                let problem = format!("\"{word}\" is none of: {}", Language::known());
                document.fault(&path("language"), problem)
            })?,
        };
        let mut documents: Vec<FileDocument> = Vec::new();
        for (at, written) in base.documents.into_iter().enumerate() {
            let path = path(&format!("documents[{at}]"));
            let checked = check_document(document, &path, written)?;
            if documents.iter().any(|other| other.slug == checked.slug) {
                let problem = format!("\"{}\" is there twice: give one another slug", checked.slug);
                return Err(document.fault(&path, problem));
            }
            documents.push(checked);
        }
        bases.push(FileBase { slug: base.slug, name: base.name, language, documents });
    }
    Ok(bases)
}

fn check_document(
    document: &Document<'_>,
    path: &str,
    written: DocumentIn,
) -> Result<FileDocument, FileFault> {
    let key = |key: &str| format!("{path}.{key}");
    check_text(document, &key("title"), &written.title, usize::MAX)?;
    if let Some(fault) = title_fault(&written.title) {
        return Err(document.fault(&key("title"), fault));
    }
    let url = written.url.map(|url| web_url(&url).ok_or_else(|| document.fault(&key("url"), URL_WANTED)));
    let slug = match written.slug {
        Some(slug) => {
            check_slug(document, path, &slug)?;
            if !is_slug(&slug) {
                return Err(document.fault(&key("slug"), "an id is no slug"));
            }
            slug
        }
        None => slug_of(&written.title)
            .ok_or_else(|| document.fault(path, "its title makes no slug: give it one"))?,
    };
    let source = match (written.text, written.path) {
        (Some(text), None) => {
            check_text(document, &key("text"), &text, MAX_TEXT)?;
            FileSource::Text(text)
        }
        (None, Some(file)) => {
            check_text(document, &key("path"), &file, MAX_PATH)?;
            let format = Format::of_file(&file).ok_or_else(|| {
                let problem = "its name does not end in one of: .md, .txt, .html, .htm, .pdf";
                document.fault(&key("path"), problem)
            })?;
            FileSource::Path(file, format)
        }
        (Some(_), Some(_)) => return Err(document.fault(path, "it has text and path: one of them is wanted")),
        (None, None) => return Err(document.fault(path, "text or path is missing")),
    };
    let place = document.place(path);
    Ok(FileDocument { slug, title: written.title, url: url.transpose()?, source, place })
}
