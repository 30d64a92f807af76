//! The site that the chat is a guest of: pages of an origin of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse as _, Response};
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, StatusCode};

use crate::support::router_server::RouterServer;

/// A server of pages, which records the requests.
pub(super) struct HostPage {
    server: RouterServer,
    site: Arc<Mutex<Site>>,
}

#[derive(Default)]
struct Site {
    pages: BTreeMap<String, Page>,
    requests: Vec<String>,
}

#[derive(Clone)]
struct Page {
    html: String,
    policy: Option<HeaderValue>,
}

impl HostPage {
    pub async fn start() -> Self {
        let site = Arc::<Mutex<Site>>::default();
        let routes = axum::Router::new().fallback(respond).with_state(Arc::clone(&site));
        Self { server: RouterServer::start(routes).await, site }
    }

    /// Sets the page of a path.
    pub fn serve(&self, path: &str, html: &str) {
        self.set(path, Page { html: html.to_owned(), policy: None });
    }

    /// Sets the page of a path, with a content security policy.
    pub fn serve_with_policy(&self, path: &str, html: &str, policy: &str) {
        let policy = Some(HeaderValue::from_str(policy).expect("a header value"));
        self.set(path, Page { html: html.to_owned(), policy });
    }

    fn set(&self, path: &str, page: Page) {
        self.site.lock().expect("no thread panicked with the lock").pages.insert(path.to_owned(), page);
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// The paths that were requested, in order. Browsers look for an icon by themselves.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.site.lock().expect("no thread panicked with the lock").requests.clone();
        requests.into_iter().filter(|path| path != "/favicon.ico").collect()
    }
}

async fn respond(State(site): State<Arc<Mutex<Site>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let page = {
        let mut site = site.lock().expect("no thread panicked with the lock");
        site.requests.push(path.clone());
        site.pages.get(&path).cloned()
    };
    let Some(Page { html, policy }) = page else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = Html(html).into_response();
    if let Some(policy) = policy {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// A page with landmarks, a heading and a form, as a site has it; `attributes` are those of its root element.
pub(super) fn html(attributes: &str, script: &str) -> String {
    let attributes = if attributes.contains("lang=") {
        attributes.to_owned()
    } else {
        format!("lang=\"en\" {attributes}")
    };
    format!(
        "<!doctype html><html {attributes}><head><meta charset=\"utf-8\"><title>Shop</title>
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head>
         <body><header><a href=\"#main\">Skip</a></header>
         <main id=\"main\"><h1>Shop</h1><p>Chairs and tables.</p><button id=\"buy\">Buy</button></main>
         <footer><p>Shop Ltd</p></footer>
         {script}</body></html>"
    )
}
