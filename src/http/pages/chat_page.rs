//! `/chat/{assistant}`: the chat with an assistant as a page of its own, for a link or a frame.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::page::{HtmlPage, PageSources};
use super::plain_text::{failed, limit};
use super::static_file::insert;
use crate::domain::assistant::AssistantVersion;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _};
use crate::http::error::REJOINDER_ERROR;
use crate::http::extract::PathParam;
use crate::http::fields::assistant_id;
use crate::http::query;
use crate::http::state::AppState;
use crate::service::widget_assistant;

/// The placeholders in the HTML for the language, the title and the name of the assistant.
const LANGUAGE_SLOT: &str = "/*language*/";
const TITLE_SLOT: &str = "/*title*/";
const ASSISTANT_SLOT: &str = "/*assistant*/";

/// The languages of the widget; the first is the default.
const LANGUAGES: [&str; 2] = ["en", "de"];

static CHAT: LazyLock<HtmlPage> = LazyLock::new(|| page(include_str!("assets/chat.html"), true));
static MISSING: LazyLock<HtmlPage> = LazyLock::new(|| page(include_str!("assets/chat_missing.html"), false));

fn page(html: &'static str, has_widget: bool) -> HtmlPage {
    let styles = &[include_str!("assets/base.css"), include_str!("assets/chat.css")];
    HtmlPage::assemble(&PageSources { html, styles, script: "", has_widget })
}

/// The route. Its requests count towards the rate limits of their address, like a visitor's.
pub(in crate::http) fn routes(state: &AppState) -> Router<AppState> {
    let routes = query::warn_of_all(Router::new().route("/chat/{assistant}", get(read)));
    routes.route_layer(from_fn_with_state(state.clone(), limit))
}

/// The page, whose browser enforces who may embed it.
async fn read(State(state): State<AppState>, PathParam(name): PathParam, headers: HeaderMap) -> Response {
    let Ok(id) = assistant_id(&name) else { return missing() };
    match widget_assistant::find(&state.services, id, None, None).await {
        Ok((_, version)) => chat(&name, &version, language(&headers)),
        Err(Error::NotFound { .. }) => missing(),
        Err(error) => failed(error),
    }
}

/// The chat with the assistant of this name, which is a valid id.
fn chat(name: &str, version: &AssistantVersion, language: &str) -> Response {
    let html = CHAT.html.replacen(LANGUAGE_SLOT, language, 1).replacen(ASSISTANT_SLOT, name, 1);
    let html = html.replacen(TITLE_SLOT, &escape(version.widget_title()), 1);
    let embedders = match version.allowed_origins.as_slice() {
        [] => "*".to_owned(),
        origins => format!("'self' {}", origins.join(" ")),
    };
    let mut response = respond(StatusCode::OK, &CHAT, &embedders, html);
    response.headers_mut().insert(VARY, HeaderValue::from(ACCEPT_LANGUAGE));
    response
}

fn missing() -> Response {
    let mut response = respond(StatusCode::NOT_FOUND, &MISSING, "*", MISSING.html.clone());
    let code = HeaderValue::from_static(AssistantId::NOT_FOUND);
    response.headers_mut().insert(REJOINDER_ERROR, code);
    response
}

fn respond(status: StatusCode, page: &HtmlPage, embedders: &str, html: String) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in page.headers(embedders) {
        insert(&mut headers, name, value);
    }
    (status, headers, html).into_response()
}

/// The first language of the browser that the widget has.
fn language(headers: &HeaderMap) -> &'static str {
    let lists = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|list| list.to_str().ok());
    let mut wanted = lists.flat_map(|list| list.split(',')).filter_map(|range| {
        let tag = range.trim().split([';', '-']).next()?;
        LANGUAGES.into_iter().find(|language| tag.eq_ignore_ascii_case(language))
    });
    wanted.next().unwrap_or(LANGUAGES[0])
}

/// A text as the content of an HTML element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_SECURITY_POLICY;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    const NAME: &str = "550e8400-e29b-41d4-a716-446655440000";

    fn version(origins: &[&str]) -> AssistantVersion {
        let version = json!({
            "slug": "a", "name": "A & <b>", "system_prompt": "x", "allowed_origins": origins,
        });
        serde_json::from_value(version).unwrap()
    }

    fn policy(response: &Response) -> &str {
        response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap()
    }

    #[tokio::test]
    async fn the_page_loads_the_widget_of_its_assistant() {
        let response = chat(NAME, &version(&[]), "de");

        assert!(policy(&response).contains("; script-src 'self'; "), "{}", policy(&response));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let html = String::from_utf8(body.to_vec()).unwrap();
        assert!(html.contains(&format!("data-assistant=\"{NAME}\"")), "{html}");
        assert!(html.contains("<title>A &amp; &lt;b&gt;</title>"), "{html}");
        assert!(html.contains("<html lang=\"de\">"), "{html}");
    }

    #[test]
    fn the_allowed_origins_may_embed_it() {
        assert!(policy(&chat(NAME, &version(&[]), "en")).ends_with("; frame-ancestors *"));
        let response = chat(NAME, &version(&["https://a.example", "http://localhost:3000"]), "en");
        assert!(
            policy(&response).ends_with("; frame-ancestors 'self' https://a.example http://localhost:3000")
        );
        let missing = missing();
        assert_eq!(missing.headers()[REJOINDER_ERROR], "assistant_not_found");
        assert!(policy(&missing).contains("; script-src 'none'; "), "{}", policy(&missing));
    }

    #[test]
    fn the_language_is_the_first_that_the_widget_has() {
        let cases = [(None, "en"), (Some("fr, DE-AT;q=0.8, en;q=0.5"), "de"), (Some("fr"), "en")];
        for (value, expected) in cases {
            let headers = value.map(|value| (ACCEPT_LANGUAGE, HeaderValue::from_static(value)));
            assert_eq!(language(&headers.into_iter().collect()), expected, "{value:?}");
        }
    }
}
