//! The pages for people: the demo chat at `/`, the options of the widget at `/widget`, the API reference at `/docs`, and the
//! chat with an assistant at `/chat/{assistant}`; and the files of the widget. A page requests only this server, and its
//! policy permits nothing else.

pub(super) mod calendar_file;
pub(super) mod chat_page;
mod etag;
mod page;
mod plain_text;
mod static_file;
#[cfg(test)]
mod tests;
mod widget_files;

use std::sync::LazyLock;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{MethodRouter, get};

use page::{HtmlPage, PageSources};
use static_file::StaticFile;

use super::query;

/// A script that `build.rs` made of the modules in `assets/`.
macro_rules! script {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

use script;

static DEMO_PAGE: LazyLock<StaticFile> = LazyLock::new(|| {
    HtmlPage::assemble(&PageSources {
        html: include_str!("assets/demo.html"),
        styles: &[include_str!("assets/base.css"), include_str!("assets/demo.css")],
        script: script!("demo.js"),
        has_widget: true,
    })
    .into_file()
});
static OPTIONS_PAGE: LazyLock<StaticFile> = LazyLock::new(|| {
    HtmlPage::assemble(&PageSources {
        html: include_str!("assets/options.html"),
        styles: &[include_str!("assets/base.css"), include_str!("assets/options.css")],
        script: script!("options.js"),
        has_widget: true,
    })
    .into_file()
});
static REFERENCE_PAGE: LazyLock<StaticFile> = LazyLock::new(|| {
    HtmlPage::assemble(&PageSources {
        html: include_str!("assets/docs.html"),
        styles: &[include_str!("assets/base.css"), include_str!("assets/docs.css")],
        script: script!("docs.js"),
        has_widget: false,
    })
    .into_file()
});

/// `GET` and `HEAD` of what is the same for everybody. The routes need no state and none of the layers of the APIs. They
/// ignore a query, which links of campaigns have, with `Rejoinder-Warning`.
pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let pages = Router::new()
        .route("/", serve(&DEMO_PAGE))
        .route("/widget", serve(&OPTIONS_PAGE))
        .route("/docs", serve(&REFERENCE_PAGE));
    query::warn_of_all(pages.merge(widget_files::routes()))
}

fn serve<S>(file: &'static LazyLock<StaticFile>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    get(move |headers: HeaderMap| async move { file.respond(&headers) })
}
