//! A page: HTML with its style and script inlined, and a content security policy that permits only these.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::etag::is_not_modified;

/// The placeholders for style and script in the HTML.
const STYLE_SLOT: &str = "/*style*/";
const SCRIPT_SLOT: &str = "/*script*/";

/// The source files of a page.
#[derive(Debug)]
pub(super) struct PageSources {
    /// Contains one [`STYLE_SLOT`] as the text of a `style`, and one [`SCRIPT_SLOT`] as the text of a `script`.
    pub html: &'static str,
    pub styles: &'static [&'static str],
    pub scripts: &'static [&'static str],
}

/// A page as it is sent.
#[derive(Debug)]
pub(super) struct HtmlPage {
    body: Bytes,
    headers: HeaderMap,
}

impl HtmlPage {
    /// Inlines style and script, and permits exactly these two by their hashes.
    pub(super) fn assemble(sources: &PageSources) -> Self {
        let style = sources.styles.join("\n");
        let script = sources.scripts.join("\n");
        let policy = policy(&style, &script);
        let body = sources.html.replacen(STYLE_SLOT, &style, 1).replacen(SCRIPT_SLOT, &script, 1);
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&body)));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        // Clients revalidate their copy each time, so the pages of a new binary appear at once.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        // Both values consist of base64 and fixed text, so neither conversion can fail.
        for (name, value) in [(CONTENT_SECURITY_POLICY, policy), (ETAG, etag)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        Self { body: body.into(), headers }
    }

    /// The whole page, or 304 if the client has it.
    pub(super) fn respond(&self, request: &HeaderMap) -> Response {
        let headers = self.headers.clone();
        if self.is_not_modified(request) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.body.clone()).into_response()
    }

    fn is_not_modified(&self, request: &HeaderMap) -> bool {
        self.headers.get(ETAG).is_some_and(|tag| is_not_modified(request, tag))
    }
}

/// A policy that permits only the page's own style and script, inline icons, and requests to this server.
fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(style),
        hash(script)
    )
}
