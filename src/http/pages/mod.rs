//! The pages for people: the demo chat at `/` and the API reference at `/docs`.
//! Each page is one self-contained response: it requests only this server's own JSON, and its policy permits nothing
//! else.

pub(super) mod calendar_file;
mod etag;
mod page;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{MethodRouter, get};

use page::{HtmlPage, PageSources};

use super::query;

/// `GET` and `HEAD` of `/` and `/docs`. The routes need no state and none of the layers of the APIs. The pages
/// ignore a query, which links of campaigns have, with `Rejoinder-Warning`.
pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    query::warn_of_all(Router::new().route("/", serve(demo())).route("/docs", serve(reference())))
}

fn serve<S>(page: HtmlPage) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let page = Arc::new(page);
    get(move |headers: HeaderMap| async move { page.respond(&headers) })
}

fn demo() -> HtmlPage {
    HtmlPage::assemble(&PageSources {
        html: include_str!("assets/demo.html"),
        styles: &[include_str!("assets/base.css"), include_str!("assets/demo.css")],
        scripts: &[
            include_str!("assets/shared.js"),
            include_str!("assets/markdown.js"),
            include_str!("assets/sse.js"),
            include_str!("assets/turn_stream.js"),
            include_str!("assets/demo_api.js"),
            include_str!("assets/demo_view.js"),
            include_str!("assets/demo.js"),
        ],
    })
}

fn reference() -> HtmlPage {
    HtmlPage::assemble(&PageSources {
        html: include_str!("assets/docs.html"),
        styles: &[include_str!("assets/base.css"), include_str!("assets/docs.css")],
        scripts: &[
            include_str!("assets/shared.js"),
            include_str!("assets/markdown.js"),
            include_str!("assets/docs_schema.js"),
            include_str!("assets/docs.js"),
        ],
    })
}
