//! The widget for other people's pages: the loader, which a page names, the core, which the loader imports, and the types.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::get;

use super::bundle::{Module, bundle, module};
use super::serve;
use super::static_file::{StaticFile, digest};
use crate::http::extract::PathParam;

/// The placeholder in the loader for the path of the core, relative to that of the loader.
const CORE_SLOT: &str = "/*core*/";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const FOR_MINUTES: &str = "public, max-age=300";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

const LOADER: &str = include_str!("assets/widget/loader.js");
const TYPES: &str = include_str!("assets/widget/widget.d.ts");
const STYLE: &str = include_str!("assets/widget/widget.css");

/// The modules of the core.
pub(super) const CORE: &[Module] = &[
    module!("widget/failures.js"),
    module!("widget/sse.js"),
    module!("widget/api.js"),
    module!("widget/log.js"),
    module!("widget/reply.js"),
    module!("widget/turn_stream.js"),
    module!("widget/deliver.js"),
    module!("widget/environment.js"),
    module!("widget/tabs.js"),
    module!("widget/follow.js"),
    module!("widget/identity.js"),
    module!("widget/list.js"),
    module!("widget/pending.js"),
    module!("widget/state.js"),
    module!("widget/storage.js"),
    module!("widget/chat.js"),
    module!("widget/dom.js"),
    module!("widget/styles.js"),
    module!("widget/texts_de.js"),
    module!("widget/texts_en.js"),
    module!("widget/texts.js"),
    module!("widget/view_composer.js"),
    module!("widget/markdown_inline.js"),
    module!("widget/markdown.js"),
    module!("widget/view_calls.js"),
    module!("widget/view_failure.js"),
    module!("widget/view_entry.js"),
    module!("widget/view_form.js"),
    module!("widget/view_header.js"),
    module!("widget/view_list.js"),
    module!("widget/view_log.js"),
    module!("widget/view_notice.js"),
    module!("widget/view_panel.js"),
    module!("widget/entry.js"),
];

/// The core and the name of its file.
struct Core {
    name: String,
    script: String,
}

static CORE_SCRIPT: LazyLock<Core> = LazyLock::new(|| {
    let script = bundle(CORE, STYLE);
    Core { name: format!("{:.16}.js", digest(&script)), script }
});
static LOADER_FILE: LazyLock<StaticFile> = LazyLock::new(|| {
    let core = format!("widget/{}", CORE_SCRIPT.name);
    let loader = Module { path: "widget/loader.js", text: LOADER };
    public_file(bundle(&[loader], "").replacen(CORE_SLOT, &core, 1), SCRIPT, FOR_MINUTES)
});
static CORE_FILE: LazyLock<StaticFile> =
    LazyLock::new(|| public_file(CORE_SCRIPT.script.clone(), SCRIPT, FOR_EVER));
static TYPES_FILE: LazyLock<StaticFile> =
    LazyLock::new(|| public_file(TYPES.to_owned(), "text/plain; charset=utf-8", FOR_MINUTES));

/// `GET` and `HEAD` of the files.
pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/widget.js", serve(&LOADER_FILE))
        .route("/widget.d.ts", serve(&TYPES_FILE))
        .route("/widget/{file}", get(core))
}

/// The core. A page may have a loader of another release, of a process beside this one or from a cache: it gets the core of
/// this release, and asks again the next time.
async fn core(PathParam(name): PathParam, headers: HeaderMap) -> Response {
    let mut response = CORE_FILE.respond(&headers);
    if name != CORE_SCRIPT.name {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// A file for pages of any origin.
fn public_file(text: String, content_type: &str, cache: &str) -> StaticFile {
    let resource_policy = HeaderName::from_static("cross-origin-resource-policy");
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, cache),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (resource_policy, "cross-origin"),
    ];
    StaticFile::new(text, headers.map(|(name, value)| (name, value.to_owned())))
}
