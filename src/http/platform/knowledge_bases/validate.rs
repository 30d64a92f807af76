//! What is sent to set up knowledge bases, field by field.

use bytes::Bytes;
use http::{HeaderMap, header};

use super::wire::{BaseIn, BaseUpdateIn, DocumentIn, SearchIn, UploadQuery};
use crate::domain::error::Error;
use crate::domain::knowledge::{
    Format, Language, MAX_RESULT_PASSAGES, SearchMode, URL_REQUIREMENT, is_slug, slugify, title_error,
    web_url,
};
use crate::http::fields::{Field, integer};
use crate::http::platform::validate::{
    fields, invalid, optional_text, reject_unknown_fields, required, short_text,
};
use crate::service::knowledge::{CreateKnowledgeBase, DocumentSource, SearchRequest};

const MAX_QUERY_CHARS: usize = 1000;
const MAX_HITS: usize = 50;

/// The fields of [`BaseUpdateIn`].
const UPDATABLE: [&str; 1] = ["name"];

/// A base to be made.
pub(super) fn base(body: &[u8]) -> Result<CreateKnowledgeBase, Error> {
    let input: BaseIn = fields(body)?;
    let slug = optional_text("slug", input.slug)?.ok_or_else(|| required("slug"))?;
    Ok(CreateKnowledgeBase {
        slug: checked_slug(slug)?,
        name: short_text("name", input.name)?,
        language: match optional_text("language", input.language)? {
            None => Language::English,
            Some(word) => word
                .parse()
                .map_err(|_| invalid("language", &format!("must be one of: {}.", Language::names())))?,
        },
    })
}

/// A base's new name; an empty one takes the name away.
pub(super) fn update(body: &[u8]) -> Result<Option<String>, Error> {
    reject_unknown_fields(body, &UPDATABLE)?;
    let input: BaseUpdateIn = fields(body)?;
    if input.name.is_none() {
        return Err(required("name"));
    }
    short_text("name", input.name)
}

/// A document that comes as JSON.
pub(super) fn document(body: &[u8]) -> Result<DocumentSource, Error> {
    let input: DocumentIn = fields(body)?;
    let title = checked_title(short_text("title", input.title)?.ok_or_else(|| required("title"))?)?;
    let text = optional_text("text", input.text)?.ok_or_else(|| required("text"))?;
    Ok(DocumentSource {
        slug: match optional_text("slug", input.slug)? {
            Some(slug) => checked_slug(slug)?,
            None => {
                slugify(&title).ok_or_else(|| invalid("slug", "is required, for this title makes none."))?
            }
        },
        title,
        url: optional_text("url", input.url)?.as_deref().map(checked_url).transpose()?,
        format: text_format(input.format)?,
        file: text.into(),
    })
}

fn text_format(input: Field) -> Result<Format, Error> {
    let Some(word) = optional_text("format", input)? else { return Ok(Format::Markdown) };
    // A PDF is no text: it is uploaded.
    let format = word.parse().ok().filter(|format| *format != Format::Pdf);
    format.ok_or_else(|| invalid("format", "must be one of: markdown, text, html."))
}

/// A document that comes as a file.
pub(super) fn upload(
    slug: &str,
    query: UploadQuery,
    headers: &HeaderMap,
    file: Bytes,
) -> Result<DocumentSource, Error> {
    let slug = checked_slug(slug.to_owned())?;
    let title = query.title.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| slug.clone());
    let url = query.url.as_deref().map(checked_url).transpose()?;
    Ok(DocumentSource { slug, title: checked_title(title)?, url, format: declared_format(headers)?, file })
}

fn declared_format(headers: &HeaderMap) -> Result<Format, Error> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    Format::from_media_type(&essence).ok_or_else(|| {
        let text =
            "Header 'Content-Type' must be one of: text/markdown, text/plain, text/html, application/pdf.";
        Error::invalid("content-type", text)
    })
}

/// What is looked for, by what, and how many passages at most.
pub(super) fn search(body: &[u8]) -> Result<SearchRequest, Error> {
    let input: SearchIn = fields(body)?;
    let query = optional_text("query", input.query)?.ok_or_else(|| required("query"))?;
    if query.trim().is_empty() {
        return Err(required("query"));
    }
    if query.chars().count() > MAX_QUERY_CHARS {
        return Err(invalid("query", "must not be greater than 1000 characters."));
    }
    let limit = input.limit.map(|limit| {
        let limit = integer(&limit).ok().and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| (1..=MAX_HITS).contains(limit));
        limit.ok_or_else(|| invalid("limit", "must be a whole number from 1 to 50."))
    });
    let limit = limit.transpose()?.unwrap_or(MAX_RESULT_PASSAGES);
    let by = optional_text("by", input.by)?
        .map(|by| by.parse().map_err(|_| invalid("by", "must be one of: words, vectors, both.")));
    Ok(SearchRequest { query, limit, by: by.transpose()?.unwrap_or(SearchMode::Both) })
}

fn checked_slug(slug: String) -> Result<String, Error> {
    if is_slug(&slug) {
        return Ok(slug);
    }
    Err(invalid("slug", "must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id."))
}

fn checked_title(title: String) -> Result<String, Error> {
    match title_error(&title) {
        Some(fault) => Err(invalid("title", &format!("{fault}."))),
        None => Ok(title),
    }
}

fn checked_url(url: &str) -> Result<String, Error> {
    web_url(url).ok_or_else(|| invalid("url", &format!("{URL_REQUIREMENT}.")))
}
