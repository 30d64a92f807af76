//! What is sent to set up knowledge bases, field by field.

use http::{HeaderMap, header};
use url::Url;

use super::wire::{BaseChangeIn, BaseIn, DocumentIn, SearchIn, UploadQuery};
use crate::domain::error::Error;
use crate::domain::ids::DocumentId;
use crate::domain::knowledge::{Format, Language, MOST_PASSAGES, SearchBy, slug_of};
use crate::http::fields::{Field, whole};
use crate::http::v1::validate::{fields, invalid, optional_text, refuse_others, required, short_text};
use crate::service::knowledge::{Asked, Source, Wanted};

const LONGEST_SLUG: usize = 64;
const LONGEST_TITLE: usize = 255;
const LONGEST_URL: usize = 2048;
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
    let title = short_text("title", sent.title)?.ok_or_else(|| required("title"))?;
    let text = optional_text("text", sent.text)?.ok_or_else(|| required("text"))?;
    Ok(Source {
        slug: match optional_text("slug", sent.slug)? {
            Some(slug) => checked_slug(slug)?,
            None => {
                slug_of(&title).ok_or_else(|| invalid("slug", "is required, for this title makes none."))?
            }
        },
        title,
        url: optional_text("url", sent.url)?.map(checked_url).transpose()?,
        format: text_format(sent.format)?,
        file: text.into_bytes(),
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
    file: &[u8],
) -> Result<Source, Error> {
    let slug = checked_slug(slug.to_owned())?;
    let title = query.title.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| slug.clone());
    if title.chars().count() > LONGEST_TITLE {
        return Err(invalid("title", "must not be greater than 255 characters."));
    }
    if title.contains('\0') {
        return Err(invalid("title", "contains an invalid character."));
    }
    let url = query.url.map(checked_url).transpose()?;
    Ok(Source { slug, title, url, format: declared(headers)?, file: file.to_vec() })
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

/// An id is no slug: a document is found by either.
fn checked_slug(slug: String) -> Result<String, Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let is_slug = (1..=LONGEST_SLUG).contains(&slug.len()) && slug.bytes().all(fits);
    if is_slug && slug.parse::<DocumentId>().is_err() {
        return Ok(slug);
    }
    Err(invalid("slug", "must be 1 to 64 lower-case letters, digits, hyphens or underscores, and no id."))
}

/// A model passes it on to people, so only what a browser opens.
fn checked_url(url: String) -> Result<String, Error> {
    let is_web = Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_web && url.chars().count() <= LONGEST_URL && !url.contains('\0') {
        return Ok(url);
    }
    Err(invalid("url", "must be an http or https URL of at most 2048 characters."))
}
