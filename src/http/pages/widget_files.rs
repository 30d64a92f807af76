//! The widget for other people's pages: the loader, which a page names, the modules, which the loader and they import, and the
//! types.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::get;

use super::static_file::{StaticFile, digest};
use super::{script, serve};
use crate::http::extract::PathParam;

/// The placeholder in the loader for the path of the core, relative to that of the loader.
const CORE_SLOT: &str = "/*core*/";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const FOR_MINUTES: &str = "public, max-age=300";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

const TYPES: &str = include_str!("assets/widget/widget.d.ts");

/// The modules that a browser loads: the core, and what the core loads when it is first needed. They find each other by name.
const MODULES: [(&str, &str); 3] = [
    ("entry.js", script!("entry.js")),
    ("extras.js", script!("extras.js")),
    ("texts_de.js", script!("texts_de.js")),
];

/// The name of the folder of the modules, which differs if one of them does.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{:.16}", digest(MODULES.map(|(_, text)| text).concat())));
static LOADER_FILE: LazyLock<StaticFile> = LazyLock::new(|| {
    let core = format!("widget/{}/entry.js", *VERSION);
    public_file(script!("loader.js").replacen(CORE_SLOT, &core, 1), SCRIPT, FOR_MINUTES)
});
static MODULE_FILES: LazyLock<[StaticFile; 3]> =
    LazyLock::new(|| MODULES.map(|(_, text)| public_file(text.to_owned(), SCRIPT, FOR_EVER)));
static TYPES_FILE: LazyLock<StaticFile> =
    LazyLock::new(|| public_file(TYPES.to_owned(), "text/plain; charset=utf-8", FOR_MINUTES));

/// `GET` and `HEAD` of the files.
pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let mut routes =
        Router::new().route("/widget.js", serve(&LOADER_FILE)).route("/widget.d.ts", serve(&TYPES_FILE));
    for (index, (name, _)) in MODULES.iter().enumerate() {
        let respond = async move |PathParam(version): PathParam, headers: HeaderMap| {
            module(&MODULE_FILES[index], &version, &headers)
        };
        routes = routes.route(&format!("/widget/{{version}}/{name}"), get(respond));
    }
    routes
}

/// A module. A page may have a loader or a core of another release, of a process beside this one or from a cache: it gets the
/// module of this release, and asks again the next time.
fn module(file: &StaticFile, version: &str, headers: &HeaderMap) -> Response {
    let mut response = file.respond(headers);
    if version != *VERSION {
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
