//! A page: HTML with its style and script inlined, and a content security policy that permits only these, and the widget
//! of this server if the page has it.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::static_file::StaticFile;

/// What the head of each page begins with: its encoding, its icon and its style.
const HEAD: &str = include_str!("assets/head.html");

/// The placeholders for it, for the style in it, and for the script.
const HEAD_SLOT: &str = "<!--head-->\n";
const STYLE_SLOT: &str = "/*style*/";
const SCRIPT_SLOT: &str = "/*script*/";

/// The source files of a page.
#[derive(Debug)]
pub(super) struct PageSources {
    /// Contains one [`HEAD_SLOT`], and if there is a script one [`SCRIPT_SLOT`] as the text of a `script`.
    pub html: &'static str,
    pub styles: &'static [&'static str],
    /// Empty if the page has none of its own.
    pub script: &'static str,
    /// Whether the page loads the widget of this server.
    pub has_widget: bool,
}

/// A page before it is sent.
#[derive(Debug)]
pub(super) struct HtmlPage {
    pub html: String,
    /// The content security policy, but for those who may embed the page.
    policy: String,
}

impl HtmlPage {
    /// Inlines style and script, and permits exactly these two by their hashes.
    pub(super) fn assemble(sources: &PageSources) -> Self {
        let style = sources.styles.join("\n");
        let script = Some(sources.script).filter(|text| !text.is_empty());
        let policy = policy(&style, script, sources.has_widget);
        let head = HEAD.replacen(STYLE_SLOT, &style, 1);
        let html = sources.html.replacen(HEAD_SLOT, &head, 1).replacen(SCRIPT_SLOT, sources.script, 1);
        Self { html, policy }
    }

    /// The headers of the page; `embedders` are the sources of `frame-ancestors`.
    pub(super) fn headers(&self, embedders: &str) -> [(HeaderName, String); 4] {
        [
            (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            // Clients revalidate their copy each time, so the pages of a new binary appear at once.
            (CACHE_CONTROL, "no-cache".to_owned()),
            (REFERRER_POLICY, "no-referrer".to_owned()),
            (CONTENT_SECURITY_POLICY, format!("{}; frame-ancestors {embedders}", self.policy)),
        ]
    }

    /// The page as a file that no other page embeds.
    pub(super) fn into_file(self) -> StaticFile {
        let headers = self.headers("'none'");
        StaticFile::new(self.html, headers)
    }
}

/// A policy that permits only the page's own style and script, inline icons, and requests to this server.
fn policy(style: &str, script: Option<&str>, has_widget: bool) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let own = has_widget.then(|| "'self'".to_owned());
    let mut scripts: Vec<_> = own.into_iter().chain(script.map(hash)).collect();
    if scripts.is_empty() {
        scripts.push("'none'".to_owned());
    }
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'",
        hash(style),
        scripts.join(" ")
    )
}
