//! The knowledge bases of a file.

use std::collections::HashSet;
use std::path::{Component, Path};

use super::document::{Entry, WorkspaceFileError};
use super::{FileDocument, FileKnowledgeBase, FileSource};
use crate::domain::invalid_field::{check_not_blank, check_slug, check_text};
use crate::domain::knowledge::{
    Format, Language, MAX_NAME_LENGTH, MAX_TEXT, URL_REQUIREMENT, is_slug, slugify, title_error, web_url,
};

pub(super) const KEYS: [&str; 4] = ["slug", "name", "language", "documents"];
const MAX_PATH: usize = 4096;
const OUTSIDE: &str = "must lead to a file in the folder of this file: a relative path without ..";

pub(super) fn read(mut entry: Entry<'_>) -> Result<FileKnowledgeBase, WorkspaceFileError> {
    entry.check_keys(&KEYS)?;
    let slug = entry.require("slug")?;
    let name: Option<String> = entry.take("name")?;
    if let Some(name) = &name {
        check_text("name", name, MAX_NAME_LENGTH).map_err(|error| entry.invalid(&error))?;
    }
    let language = match entry.take::<String>("language")? {
        None => Language::English,
        Some(word) => word.parse().map_err(|_| {
            entry.error("language", format_args!("\"{word}\" is none of: {}", Language::names()))
        })?,
    };
    let mut slugs = HashSet::new();
    let mut documents = Vec::new();
    for document in entry.take_entries("documents")? {
        let document = read_document(document)?;
        if !slugs.insert(document.slug.clone()) {
            let problem = format_args!("\"{}\" is there twice: give one another slug", document.slug);
            return Err(document.location.with_problem(problem));
        }
        documents.push(document);
    }
    Ok(FileKnowledgeBase { slug, name, language, documents })
}

fn read_document(mut entry: Entry<'_>) -> Result<FileDocument, WorkspaceFileError> {
    entry.check_keys(&["title", "slug", "url", "text", "path"])?;
    let location = entry.location();
    let title: String = entry.require("title")?;
    check_not_blank("title", &title).map_err(|error| entry.invalid(&error))?;
    if let Some(error) = title_error(&title) {
        return Err(entry.error("title", error));
    }
    let url = match entry.take::<String>("url")? {
        Some(url) => Some(web_url(&url).ok_or_else(|| entry.error("url", URL_REQUIREMENT))?),
        None => None,
    };
    let slug = match entry.take::<String>("slug")? {
        Some(slug) => {
            check_slug(&slug).map_err(|error| entry.invalid(&error))?;
            if !is_slug(&slug) {
                return Err(entry.error("slug", "an id is no slug"));
            }
            slug
        }
        None => {
            slugify(&title).ok_or_else(|| location.with_problem("its title makes no slug: give it one"))?
        }
    };
    let source = match (entry.take::<String>("text")?, entry.take::<String>("path")?) {
        (Some(text), None) => {
            check_not_blank("text", &text).map_err(|error| entry.invalid(&error))?;
            if text.len() > MAX_TEXT {
                return Err(entry.error("text", format_args!("longer than {MAX_TEXT} bytes")));
            }
            FileSource::Text(text)
        }
        (None, Some(path)) => {
            check_text("path", &path, MAX_PATH).map_err(|error| entry.invalid(&error))?;
            if !leads_down(&path) {
                return Err(entry.error("path", OUTSIDE));
            }
            let format = Format::from_file_name(&path).ok_or_else(|| {
                entry.error("path", "its name does not end in one of: .md, .txt, .html, .htm, .pdf")
            })?;
            FileSource::Path(path, format)
        }
        (Some(_), Some(_)) => {
            return Err(location.with_problem("it has text and path: one of them is wanted"));
        }
        (None, None) => return Err(location.with_problem("text or path is missing")),
    };
    Ok(FileDocument { slug, title, url, source, location })
}

/// Whether a path leads only into folders below. Links on it are checked when the file is read.
fn leads_down(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
