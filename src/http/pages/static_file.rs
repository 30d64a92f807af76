//! A file that is the same for everybody while the process runs: also compressed, with entity tags.

use std::io::{self, Write as _};

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderName, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::etag::is_not_modified;

/// A file as it is sent.
#[derive(Debug)]
pub(super) struct StaticFile {
    plain: Representation,
    gzip: Option<Representation>,
}

#[derive(Debug)]
struct Representation {
    body: Bytes,
    headers: HeaderMap,
}

impl StaticFile {
    /// A file with these headers beside those that every file has.
    pub(super) fn new(text: String, headers: impl IntoIterator<Item = (HeaderName, String)>) -> Self {
        let mut common = HeaderMap::new();
        common.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        common.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
        for (name, value) in headers {
            insert(&mut common, name, value);
        }
        let gzip = compress(text.as_bytes()).ok().map(|body| {
            let mut headers = common.clone();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Representation::new(body.into(), headers)
        });
        Self { plain: Representation::new(text.into(), common), gzip }
    }

    /// The whole file, compressed if the client takes that, or 304 if it has it.
    pub(super) fn respond(&self, request: &HeaderMap) -> Response {
        let gzip = self.gzip.as_ref().filter(|_| accepts_gzip(request));
        gzip.unwrap_or(&self.plain).respond(request)
    }
}

impl Representation {
    fn new(body: Bytes, mut headers: HeaderMap) -> Self {
        insert(&mut headers, ETAG, format!("\"{}\"", digest(&body)));
        Self { body, headers }
    }

    fn respond(&self, request: &HeaderMap) -> Response {
        let headers = self.headers.clone();
        if headers.get(ETAG).is_some_and(|tag| is_not_modified(request, tag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.body.clone()).into_response()
    }
}

/// The SHA-256 of a text, in base64 for URLs.
pub(super) fn digest(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

/// All values are our own and printable, so no conversion fails.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn compress(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text)?;
    encoder.finish()
}

/// Whether `Accept-Encoding` names gzip, and not with the quality 0.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let lists = request.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_gzip && quality.is_none_or(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_name_gzip_get_it() {
        let cases = [
            (None, false),
            (Some("gzip"), true),
            (Some("br, GZIP;q=0.5"), true),
            (Some("gzip;q=0, br"), false),
            (Some("identity"), false),
            (Some("gzipped"), false),
        ];
        for (value, expected) in cases {
            let headers = value.map(|value| (ACCEPT_ENCODING, HeaderValue::from_static(value)));
            assert_eq!(accepts_gzip(&headers.into_iter().collect()), expected, "{value:?}");
        }
    }

    #[test]
    fn each_representation_has_a_tag_of_its_own() {
        let file = StaticFile::new("a".repeat(1000), []);

        let gzip = file.gzip.as_ref().unwrap();
        assert!(gzip.body.len() < 100);
        assert_ne!(gzip.headers[ETAG], file.plain.headers[ETAG]);
        assert_eq!(gzip.headers[VARY], file.plain.headers[VARY]);
    }
}
