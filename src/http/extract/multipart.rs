//! Request bodies of `multipart/form-data`: a file, and fields of text. They are bounded in size and time, and each part is known.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyDataStream, LengthLimitError, Limited};
use multer::{Constraints, Field, Multipart, SizeLimit};

use crate::domain::error::Error;
use crate::domain::ignored_names::encode_name;
use crate::http::describe::{ErrorCase, ErrorSet};
use crate::http::envelope::{ApiError, Platform};
use crate::http::error::{Problem, TransportError};
use crate::http::state::AppState;

/// The name of the part with the file.
const FILE: &str = "file";
/// The largest field, in bytes.
const MAX_FIELD: usize = 16 * 1024;
/// The bytes of a body besides its file: the fields, and the headers of all parts.
const MAX_REST: usize = 128 * 1024;

/// The parts of a form.
pub(in crate::http) trait FormKind: Send + Sync + 'static {
    /// The names of its fields besides the file.
    const FIELDS: &'static [&'static str];
    /// The largest file, in bytes.
    const MAX_FILE: usize;
}

/// A form with a file.
#[derive(Debug)]
pub(in crate::http) struct Form<K> {
    pub(in crate::http) file: FormFile,
    fields: BTreeMap<&'static str, String>,
    kind: PhantomData<fn() -> K>,
}

/// The file of a form.
#[derive(Debug)]
pub(in crate::http) struct FormFile {
    /// The name that the client gave it.
    pub(in crate::http) name: Option<String>,
    /// The headers of its part.
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) bytes: Bytes,
}

impl<K> Form<K> {
    /// Takes the text of a field; none if it is absent or blank.
    pub(in crate::http) fn take(&mut self, field: &str) -> Option<String> {
        self.fields.remove(field).filter(|text| !text.trim().is_empty())
    }
}

/// A form, or the body of another type that a route accepts beside it.
#[derive(Debug)]
pub(in crate::http) enum FormOr<K, B> {
    Form(Form<K>),
    Body(B),
}

impl<K: FormKind, B: FromRequest<AppState>> FromRequest<AppState> for FormOr<K, B> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let declared = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let declared = declared.filter(|declared| is_form(declared)).map(str::to_owned);
        let Some(declared) = declared else {
            let body = B::from_request(request, state).await;
            return body.map(Self::Body).map_err(IntoResponse::into_response);
        };
        let form = tokio::time::timeout(state.body_timeout, Form::<K>::read(&declared, request)).await;
        let form = form.unwrap_or_else(|_| Err(TransportError::BodyTimeout.into()));
        form.map(Self::Form).map_err(|problem| ApiError::<Platform>::from(problem).into_response())
    }
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("");
    essence.trim().eq_ignore_ascii_case("multipart/form-data")
}

impl<K: FormKind, B: ErrorSet> ErrorSet for FormOr<K, B> {
    fn cases() -> Vec<ErrorCase> {
        let form = ErrorCase::new("A part is unknown, missing, repeated or invalid", missing_file());
        [form].into_iter().chain(B::cases()).collect()
    }
}

fn missing_file() -> Error {
    Error::invalid(FILE, format!("Part '{FILE}' is required."))
}

impl<K: FormKind> Form<K> {
    async fn read(content_type: &str, request: Request) -> Result<Self, Problem> {
        let limit = K::MAX_FILE + MAX_REST;
        let declared = hyper::body::Body::size_hint(request.body()).lower();
        if usize::try_from(declared).is_ok_and(|declared| declared > limit) {
            return Err(TransportError::BodyTooLarge { limit }.into());
        }
        let boundary = multer::parse_boundary(content_type).map_err(|_| {
            Error::invalid("content-type", "Header 'Content-Type' must have the boundary of the parts.")
        })?;
        let sizes = SizeLimit::new().per_field(as_u64(MAX_FIELD)).for_field(FILE, as_u64(K::MAX_FILE));
        let body = BodyDataStream::new(Limited::new(request.into_body(), limit));
        let constraints = Constraints::new().size_limit(sizes);
        let mut parts = Multipart::with_constraints(body, boundary, constraints);
        let (mut file, mut fields) = (None, BTreeMap::new());
        // Each part is known and comes once, so there are few.
        while let Some(part) = parts.next_field().await.map_err(|error| broken::<K>(&error))? {
            match known_part::<K>(&part)? {
                ControlFlow::Break(()) if file.is_none() => file = Some(read_file::<K>(part).await?),
                ControlFlow::Break(()) => return Err(repeated(FILE).into()),
                ControlFlow::Continue(name) => {
                    let text = read_text::<K>(name, part).await?;
                    if fields.insert(name, text).is_some() {
                        return Err(repeated(name).into());
                    }
                }
            }
        }
        Ok(Self { file: file.ok_or_else(missing_file)?, fields, kind: PhantomData })
    }
}

/// The field that a part is; a break for the file.
fn known_part<K: FormKind>(part: &Field<'_>) -> Result<ControlFlow<(), &'static str>, Error> {
    let name = part.name().unwrap_or_default();
    if name == FILE {
        return Ok(ControlFlow::Break(()));
    }
    let known = K::FIELDS.iter().find(|known| **known == name);
    known.map(|known| ControlFlow::Continue(*known)).ok_or_else(|| {
        let known: Vec<_> = [FILE].iter().chain(K::FIELDS).map(|known| format!("'{known}'")).collect();
        let text = format!("Unknown part '{}'. Known parts: {}.", encode_name(name), known.join(", "));
        Error::invalid("body", text)
    })
}

async fn read_file<K: FormKind>(part: Field<'_>) -> Result<FormFile, Problem> {
    let (name, headers) = (part.file_name().map(str::to_owned), part.headers().clone());
    let bytes = part.bytes().await.map_err(|error| broken::<K>(&error))?;
    Ok(FormFile { name, headers, bytes })
}

async fn read_text<K: FormKind>(name: &'static str, part: Field<'_>) -> Result<String, Problem> {
    let bytes = part.bytes().await.map_err(|error| broken::<K>(&error))?;
    let text = String::from_utf8(bytes.into());
    text.map_err(|_| Error::invalid(name, format!("Part '{name}' must be a text in UTF-8.")).into())
}

fn repeated(name: &'static str) -> Error {
    Error::invalid(name, format!("Part '{name}' may be given once only."))
}

/// The problem of a body that is incomplete, malformed or too large.
fn broken<K: FormKind>(error: &multer::Error) -> Problem {
    if let multer::Error::StreamReadFailed(cause) = error {
        let is_too_large = cause.is::<LengthLimitError>();
        let limit = K::MAX_FILE + MAX_REST;
        let too_large = TransportError::BodyTooLarge { limit };
        return if is_too_large { too_large } else { TransportError::BodyIncomplete }.into();
    }
    if let multer::Error::FieldSizeExceeded { limit, field_name } = error {
        let name = encode_name(field_name.as_deref().unwrap_or_default());
        let text = format!("Part '{name}' must not be greater than {} KB.", limit / 1024);
        return Error::invalid("body", text).into();
    }
    Error::invalid("body", "Request body is not valid multipart/form-data.").into()
}

fn as_u64(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Letter {}

    impl FormKind for Letter {
        const FIELDS: &'static [&'static str] = &["title"];
        const MAX_FILE: usize = 32 * 1024;
    }

    fn part(head: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    async fn read(body: String) -> Result<Form<Letter>, String> {
        let request = Request::new(axum::body::Body::from(body));
        let form = Form::<Letter>::read("multipart/form-data; boundary=b", request).await;
        form.map_err(|problem| match problem {
            Problem::Domain(error) => error.to_string(),
            Problem::Transport(error) => error.text(),
        })
    }

    #[tokio::test]
    async fn a_form_has_its_file_and_its_fields() {
        let body =
            part("name=\"title\"", "Größe") + &part("name=\"file\"; filename=\"a.md\"", "# A") + "--b--\r\n";

        let mut form = read(body).await.unwrap();

        assert_eq!((form.file.name.as_deref(), &form.file.bytes[..]), (Some("a.md"), &b"# A"[..]));
        assert_eq!((form.take("title").as_deref(), form.take("title")), (Some("Größe"), None));
    }

    #[tokio::test]
    async fn an_invalid_form_is_refused_by_the_name_of_its_part() {
        let file = part("name=\"file\"", "x");
        let end = "--b--\r\n";
        let large = |name: &str, size: usize| part(&format!("name=\"{name}\""), &"x".repeat(size)) + end;
        let cases = [
            (end.to_owned(), "Part 'file' is required."),
            (file.clone() + &file + end, "Part 'file' may be given once only."),
            (part("name=\"title\"", "a").repeat(2) + end, "Part 'title' may be given once only."),
            (part("name=\"titel\"", "a") + end, "Unknown part 'titel'. Known parts: 'file', 'title'."),
            (part("filename=\"a\"", "a") + end, "Unknown part ''. Known parts: 'file', 'title'."),
            (large("title", 16 * 1024 + 1), "Part 'title' must not be greater than 16 KB."),
            (large("file", 32 * 1024 + 1), "Part 'file' must not be greater than 32 KB."),
            (large("file", 200 * 1024), "The request body must not be greater than 160 KiB."),
            ("no parts".to_owned(), "Request body is not valid multipart/form-data."),
            (file, "Request body is not valid multipart/form-data."),
        ];
        for (body, text) in cases {
            assert_eq!(read(body).await.map(|form| form.fields), Err(text.to_owned()));
        }
    }
}
