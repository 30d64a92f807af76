//! Documents as `multipart/form-data`, which browsers and most HTTP clients send for a file.

use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::documents::{checked_fields, declared_type};
use super::knowledge_bases::SLUG;
use crate::domain::error::Error;
use crate::domain::knowledge::{Charset, Format, MAX_FILE, MAX_TITLE_LENGTH, MAX_URL_LENGTH, slugify};
use crate::domain::schema::{BLANK, formatted, pattern};
use crate::http::envelope::Platform;
use crate::http::extract::{Form, FormFile, FormKind};
use crate::http::fields::Violation;
use crate::service::knowledge::DocumentSource;

/// The form of a new document.
#[derive(Debug)]
pub(super) enum DocumentForm {}

impl FormKind for DocumentForm {
    const FIELDS: &'static [&'static str] = &["title", "slug", "url"];
    const MAX_FILE: usize = MAX_FILE;
}

/// The form of a document whose slug is in the path.
#[derive(Debug)]
pub(super) enum FileForm {}

impl FormKind for FileForm {
    const FIELDS: &'static [&'static str] = &["title", "url"];
    const MAX_FILE: usize = MAX_FILE;
}

/// A new document: by default its title is the name of its file without the extension, and its slug is made from the title.
pub(super) fn new_document(mut form: Form<DocumentForm>) -> Result<DocumentSource, Error> {
    let title = form.take("title").or_else(|| file_stem(&form.file));
    let title = title.ok_or_else(|| invalid("title", &Violation::Missing))?;
    let slug = match form.take("slug") {
        Some(slug) => slug,
        None => slugify(&title)
            .ok_or_else(|| invalid("slug", &Violation::rule("is required, for this title makes none")))?,
    };
    source(form, slug, title)
}

/// A document with this slug, which is also its title by default.
pub(super) fn document(mut form: Form<FileForm>, slug: String) -> Result<DocumentSource, Error> {
    let title = form.take("title").unwrap_or_else(|| slug.clone());
    source(form, slug, title)
}

fn source<K>(mut form: Form<K>, slug: String, title: String) -> Result<DocumentSource, Error> {
    let (slug, title, url) = checked_fields(slug, title, form.take("url").as_deref())?;
    let (format, charset) = file_type(&form.file)?;
    Ok(DocumentSource { slug, title, url, format, charset, file: form.file.bytes })
}

fn invalid(field: &'static str, violation: &Violation) -> Error {
    violation.of::<Platform>(field)
}

/// The name of a file without its folders and its extension.
fn file_stem(file: &FormFile) -> Option<String> {
    let name = file.name.as_deref()?.rsplit(['/', '\\']).next()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    Some(stem.to_owned()).filter(|stem| !stem.trim().is_empty())
}

/// The declared type of the part or, if that is no type of a document (clients declare `application/octet-stream` for unknown files), the
/// type by the file's name.
fn file_type(file: &FormFile) -> Result<(Format, Option<Charset>), Error> {
    let by_name = file.name.as_deref().and_then(Format::from_file_name);
    let declared = declared_type(&file.headers)?;
    declared.or_else(|| by_name.map(|format| (format, None))).ok_or_else(|| {
        let text = "Part 'file' must have one of the types text/markdown, text/plain, text/html, application/pdf, or a name that \
             ends in one of: .md, .txt, .html, .htm, .pdf.";
        Error::invalid("file", text)
    })
}

fn schema(fields: &[&'static str]) -> RefOr<Schema> {
    let binary = ObjectBuilder::new().schema_type(Type::String);
    let binary = binary.format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    let file = "Markdown, text, HTML or PDF, by its media type or the extension of its name; at most 10 MiB.";
    let file = binary.description(Some(file));
    let mut object = ObjectBuilder::new().schema_type(Type::Object).property("file", file).required("file");
    for field in fields {
        object = object.property(*field, field_schema(field));
    }
    RefOr::T(object.additional_properties(Some(AdditionalProperties::FreeForm(false))).build().into())
}

/// A field of a form. A blank one counts as absent.
fn field_schema(field: &str) -> ObjectBuilder {
    match field {
        "title" => pattern(r"^[^\u0000]*$").max_length(Some(MAX_TITLE_LENGTH)).description(Some(
            "Search results name it as their source; by default the name of the file, or the slug in the path.",
        )),
        "slug" => pattern(format!("^({SLUG}|[{BLANK}]*)$")).description(Some("Derived from the title by default.")),
        _ => formatted("uri")
            .max_length(Some(MAX_URL_LENGTH))
            .description(Some("The URL at which people read the document; search results include it.")),
    }
}

/// A file as the whole body.
#[derive(Debug)]
pub(super) enum FileBytes {}

impl PartialSchema for FileBytes {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl ToSchema for FileBytes {}

macro_rules! form_schemas {
    ($($form:ident)+) => {
        $(
            impl PartialSchema for $form {
                fn schema() -> RefOr<Schema> {
                    schema(Self::FIELDS)
                }
            }

            impl ToSchema for $form {}
        )+
    };
}

form_schemas!(DocumentForm FileForm);

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    fn file(name: &str, content_type: Option<&'static str>) -> FormFile {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        FormFile { name: Some(name.to_owned()), headers, bytes: Vec::new().into() }
    }

    #[test]
    fn the_type_of_a_file_is_the_declared_one_or_that_of_its_name() {
        let format =
            |name: &str, content_type| file_type(&file(name, content_type)).ok().map(|(format, _)| format);

        assert_eq!(format("a.md", Some("text/html; charset=latin1")), Some(Format::Html));
        assert_eq!(format("a.md", Some("application/octet-stream")), Some(Format::Markdown));
        assert_eq!(format("a.PDF", None), Some(Format::Pdf));
        assert_eq!(format("a.docx", Some("application/octet-stream")), None);
        assert_eq!(format("", None), None);
    }

    #[test]
    fn a_title_is_made_from_the_name_of_the_file() {
        let stem = |name: &str| file_stem(&file(name, None));

        assert_eq!(stem("C:\\help\\Returns 2026.v2.md").as_deref(), Some("Returns 2026.v2"));
        assert_eq!(stem("help/returns").as_deref(), Some("returns"));
        assert_eq!((stem(".md"), stem("")), (None, None));
    }
}
