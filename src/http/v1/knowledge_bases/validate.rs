//! What is sent to set up knowledge bases, field by field.

use bytes::Bytes;
use http::{HeaderMap, header};

use super::wire::{BaseChangeIn, BaseIn, DocumentIn, SearchIn, UploadQuery};
use crate::domain::error::Error;
use crate::domain::knowledge::{
    Format, Language, MOST_PASSAGES, SearchBy, URL_WANTED, is_slug, slug_of, title_fault, web_url,
};
use crate::http::fields::{Field, whole};
use crate::http::v1::validate::{fields, invalid, optional_text, refuse_others, required, short_text};
use crate::service::knowledge::{Asked, Source, Wanted};

const LONGEST_QUERY: usize = 1000;
const MOST_FOUND: usize = 50;

/// The fields of [`BaseChangeIn`].
const CHANGEABLE: [&str; 1] = ["name"];

/// A base to be made.
pub(super) fn base(body: &[u8]) -> Result<Wanted, Error> {
    let sent: BaseIn = fields(body)?;
    let slug = optional_text("slug", sent.slug)?.ok_or_else(|| required("slug"))?;
    Ok(Wanted {
        slug: checked_slug(slug)?,
        name: short_text("name", sent.name)?,
        language: match optional_text("language", sent.language)? {
            None => Language::English,
            Some(word) => word
                .parse()
                .map_err(|_| invalid("language", &format!("must be one of: {}.", Language::known())))?,
        },
    })
}

/// A base's new name; an empty one takes the name away.
pub(super) fn change(body: &[u8]) -> Result<Option<String>, Error> {
    refuse_others(body, &CHANGEABLE)?;
    let sent: BaseChangeIn = fields(body)?;
    if sent.name.is_none() {
        return Err(required("name"));
    }
    short_text("name", sent.name)
}

/// A document that comes as JSON.
pub(super) fn document(body: &[u8]) -> Result<Source, Error> {
    let sent: DocumentIn = fields(body)?;
    let title = checked_title(short_text("title", sent.title)?.ok_or_else(|| required("title"))?)?;
    let text = optional_text("text", sent.text)?.ok_or_else(|| required("text"))?;
    Ok(Source {
        slug: match optional_text("slug", sent.slug)? {
            Some(slug) => checked_slug(slug)?,
            None => {
                slug_of(&title).ok_or_else(|| invalid("slug", "is required, for this title makes none."))?
            }
        },
        title,
        url: optional_text("url", sent.url)?.as_deref().map(checked_url).transpose()?,
        format: text_format(sent.format)?,
        file: text.into(),
    })
}

fn text_format(sent: Field) -> Result<Format, Error> {
    let Some(word) = optional_text("format", sent)? else { return Ok(Format::Markdown) };
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
) -> Result<Source, Error> {
    let slug = checked_slug(slug.to_owned())?;
    let title = query.title.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| slug.clone());
    let url = query.url.as_deref().map(checked_url).transpose()?;
    Ok(Source { slug, title: checked_title(title)?, url, format: declared(headers)?, file })
}

fn declared(headers: &HeaderMap) -> Result<Format, Error> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    Format::of_media_type(&essence).ok_or_else(|| {
        let text =
            "Header 'Content-Type' must be one of: text/markdown, text/plain, text/html, application/pdf.";
        Error::invalid("content-type", text)
    })
}

/// What is looked for, by what, and how many passages at most.
pub(super) fn search(body: &[u8]) -> Result<Asked, Error> {
    let sent: SearchIn = fields(body)?;
    let query = optional_text("query", sent.query)?.ok_or_else(|| required("query"))?;
    if query.trim().is_empty() {
        return Err(required("query"));
    }
    if query.chars().count() > LONGEST_QUERY {
        return Err(invalid("query", "must not be greater than 1000 characters."));
    }
    let limit = sent.limit.map(|limit| {
        let limit = whole(&limit).ok().and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| (1..=MOST_FOUND).contains(limit));
        limit.ok_or_else(|| invalid("limit", "must be a whole number from 1 to 50."))
    });
    let limit = limit.transpose()?.unwrap_or(MOST_PASSAGES);
    let by = optional_text("by", sent.by)?
        .map(|by| by.parse().map_err(|_| invalid("by", "must be one of: words, vectors, both.")));
    Ok(Asked { query, limit, by: by.transpose()?.unwrap_or(SearchBy::Both) })
}

fn checked_slug(slug: String) -> Result<String, Error> {
    if is_slug(&slug) {
        return Ok(slug);
    }
    Err(invalid("slug", "must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id."))
}

fn checked_title(title: String) -> Result<String, Error> {
    match title_fault(&title) {
        Some(fault) => Err(invalid("title", &format!("{fault}."))),
        None => Ok(title),
    }
}

fn checked_url(url: &str) -> Result<String, Error> {
    web_url(url).ok_or_else(|| invalid("url", &format!("{URL_WANTED}.")))
}
