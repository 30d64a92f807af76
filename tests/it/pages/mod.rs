//! The pages in a real browser, served with the demo and the offline model.

mod chat;
mod modules;
mod other_sites;
mod streaming;

use rejoinder::domain::account::Scope;
use rejoinder::service::demo::{DEMO_ASSISTANT, DEMO_CONVERSATION, DEMO_FILE};
use serde_json::json;

use crate::operator::Operator;
use crate::support::browser::Browser;
use crate::support::db::TestDb;
use crate::support::server::{RESTRICTED, Setup, TestServer};
use crate::support::store;
use crate::v1::keys;

/// Reads what the widget has stored under a name for an anonymous visitor.
pub(super) fn stored(name: &str) -> String {
    format!(
        "const key = Object.keys(localStorage).find((key) => key.startsWith('rejoinder:') && key.endsWith('::{name}'));
         return JSON.parse(localStorage.getItem(key));"
    )
}

/// Reads the texts of all messages that are shown, without their times.
pub(super) const MESSAGES: &str = "
    const root = document.querySelector('rejoinder-chat').shadowRoot;
    return [...root.querySelectorAll('.bubble, .prose, .call summary, .stopped')].map((part) => part.textContent);";

const QUESTION: &str = "What times are free for a demo next week?";

/// Starts a server without any settings.
async fn start_without_settings() -> (TestDb, TestServer) {
    let db = store::sqlite().await;
    let setup = Setup::default()
        .env("REJOINDER_MODEL__KIND", "offline")
        .workspace(|_| DEMO_FILE.to_owned())
        .system_clock();
    let server = setup.start(&db).await;
    (db, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_page_answers_shows_the_call_and_survives_a_reload() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;

    browser.visit(&server.url()).await;
    browser.wait_for_text(".chips", QUESTION).await;
    browser.find(".chips button").await.click().await;
    browser.wait_for_text(".entry.visitor", QUESTION).await;
    browser.wait_for_text(".call summary", "found").await;
    // The reply is complete when the next message can be sent.
    browser.find(".send[aria-label=Send]").await;
    let reply = browser.find(".log .entry.assistant:last-of-type").await.text().await;
    let before = browser.evaluate(MESSAGES).await;
    browser.reload().await;
    browser.wait_for_text(".call summary", "check_calendar_availability").await;

    assert!(reply.contains("found"), "{reply}");
    assert_eq!(browser.evaluate(MESSAGES).await, before);
    assert_eq!(server.query_number("select count(*) from turns where state = 'completed'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_shows_every_operation_of_the_document() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;
    let document = server.request("GET", "/openapi.json").send().await.json();
    let items = document["paths"].as_object().unwrap().values();
    let operations: usize =
        items.map(|item| item.as_object().unwrap().keys().filter(|key| *key != "parameters").count()).sum();

    browser.visit(&format!("{}/docs", server.url())).await;
    browser.wait_for_text("#sendWidgetMessage", "/api/conversations/{uuid}/messages").await;

    assert_eq!(browser.count("article.operation").await, operations);
    browser.wait_for_text("#sendMessage", "Needs a bearer key.").await;
}

/// The texts of the reference's examples, by the name of the response.
const EXAMPLES: &str = "return [...document.querySelectorAll('article.operation')].flatMap((article) => {
    const select = article.querySelector('.panel select');
    return [...(select?.options ?? [])].map((option) => {
        select.value = option.value;
        select.dispatchEvent(new Event('change'));
        return [`${article.id} ${option.text}`, article.querySelector('.panel:last-of-type code').textContent];
    });
});";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_reference_are_complete_and_the_navigation_has_short_names() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;
    browser.visit(&format!("{}/docs", server.url())).await;
    browser.wait_for_text("#sendMessage", "Needs a bearer key.").await;

    let examples: Vec<[String; 2]> = serde_json::from_value(browser.evaluate(EXAMPLES).await).unwrap();
    let names =
        "return [...document.querySelectorAll('#index a span:first-child')].map((name) => name.textContent);";
    let names: Vec<String> = serde_json::from_value(browser.evaluate(names).await).unwrap();

    for [name, text] in &examples {
        let example: serde_json::Value = serde_json::from_str(text).expect("an example is JSON");
        assert!(!text.contains("\"…\""), "{name}: {example}");
    }
    let example = |name: &str| {
        let text = &examples.iter().find(|[found, _]| found == name).unwrap()[1];
        serde_json::from_str::<serde_json::Value>(text).unwrap()
    };
    assert_eq!(example("disableAi 200"), json!({"status": true, "ai_enabled": false}));
    assert_eq!(example("readWidgetConversation 200").get("ended"), None);
    assert!(names.iter().all(|name| name.split(' ').count() <= 5), "{names:?}");
}

/// The samples of the reference by operation, with its scopes.
const SAMPLES: &str = "return [...document.querySelectorAll('article.operation')].map((article) => [
    article.id,
    article.querySelector('.panel code').textContent,
    article.querySelector('.needs').textContent,
]);";

/// Samples that the demo may answer with another status than 200: operation, status, reason.
const OTHER_STATUS: [(&str, &str, &str); 20] = [
    ("createAssistant", "409", "the demo has an assistant with this slug"),
    ("createBooking", "409", "the day of the sample is over"),
    ("createErasure", "202", "the erasure goes on"),
    ("createTool", "409", "a tool of the test has this slug"),
    ("deleteConversation", "202", "the erasure goes on"),
    ("eraseBooking", "202", "the erasure goes on"),
    ("listWidgetConversations", "401", "the request has no identity token"),
    ("operatorCreateWorkspace", "409", "the workspace of the sample was made before"),
    ("operatorDeleteWorkspace", "409", "the workspace is not suspended any more"),
    ("operatorResumeWorkspace", "409", "the workspace is not suspended any more"),
    ("rateMessage", "404", "the message of the sample is the visitor's own"),
    ("refreshTool", "409", "the demo has no MCP server"),
    ("replayEvents", "409", "the demo has fewer events"),
    ("resendDelivery", "409", "the delivery may be under way"),
    ("resumeChat", "204", "no reply is being made"),
    ("retryTurn", "409", "the turn has not failed"),
    ("revokeKey", "409", "the key of the sample was rolled, and its old secret changes no keys"),
    ("streamTurn", "204", "the turn has ended"),
    ("updateOwnWorkspace", "409", "a file set up the workspace"),
    ("withdrawRating", "404", "the message of the sample is the visitor's own"),
];

/// After how many seconds a sample is stopped. That of a stream has no end.
fn longest(sample: &str) -> u32 {
    if sample.contains("/events") || sample.contains("/stream") { 3 } else { 15 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_samples_of_the_reference_work_when_pasted_and_the_scopes_are_those_of_the_routes() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;
    browser.visit(&format!("{}/docs", server.url())).await;
    browser.wait_for_text("#sendWidgetMessage", "Needs no key.").await;
    browser.wait_for_text("#sendMessage", "Needs a bearer key. Scope: messages:write").await;
    let samples = browser.evaluate(SAMPLES).await;
    let samples: Vec<[String; 3]> = serde_json::from_value(samples).unwrap();

    let ids = resources(&server).await;
    let mut failed = Vec::new();
    // Resources are removed at the end, the inner ones first.
    let (removing, others): (Vec<_>, Vec<_>) =
        samples.iter().partition(|[_, sample, _]| sample.contains("-X DELETE"));
    for [operation, sample, _] in others.into_iter().chain(removing.into_iter().rev()) {
        let mut shell = std::process::Command::new("bash");
        let curl = format!(
            "curl --silent --max-time {} --output body --write-out '%{{http_code}}'",
            longest(sample)
        );
        let sample = sample.replacen("curl", &curl, 1);
        let folder = tempfile::tempdir().unwrap();
        shell.args(["-uc", &sample]).envs(ids.iter().cloned()).current_dir(folder.path());
        let pasted = shell.output().unwrap();
        let status = String::from_utf8_lossy(&pasted.stdout).into_owned();
        let other = OTHER_STATUS.iter().find(|(name, ..)| name == operation);
        let body = std::fs::read_to_string(folder.path().join("body")).unwrap_or_default();
        let is_expected = status == "200" || other.is_some_and(|(_, expected, _)| status == *expected);
        let errors = String::from_utf8_lossy(&pasted.stderr);
        if !is_expected {
            failed.push(format!("{operation}: {status}: {sample}\n{body}\n{errors}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for [operation, sample, needs] in &samples {
        // A request without a body is enough, because the key is checked first.
        let request = sample.lines().next().unwrap_or_default();
        let mut shell = std::process::Command::new("bash");
        let curl = format!("curl --silent --max-time {}", longest(sample));
        let request = request.trim_end_matches('\\').replacen("curl", &curl, 1);
        let request = format!("{request} -H \"Authorization: Bearer $KEY\"");
        shell.args(["-uc", &request]).envs(ids.iter().cloned()).env("KEY", &server.keys.read_only);
        let body = String::from_utf8_lossy(&shell.output().unwrap().stdout).into_owned();
        let missing = body.split("lacks the scope '").nth(1).and_then(|rest| rest.split('\'').next());
        match missing {
            Some(scope) => {
                assert!(needs.ends_with(&format!("Scope: {scope}")), "{operation}: {needs}, but {body}");
            }
            None => assert!(
                needs.ends_with("Scope: read")
                    || needs == "Needs no key."
                    || sample.contains("$OPERATOR_KEY")
                    || operation == "readMe",
                "{operation}: {needs}: {body}"
            ),
        }
    }
}

/// The variables of the samples: ids of resources.
async fn resources(server: &TestServer) -> Vec<(&'static str, String)> {
    let post = async |path: &str, body: serde_json::Value| {
        let answer = server.request("POST", path).bearer(&server.keys.full).json(&body).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["data"].clone()
    };
    let id = |value: &serde_json::Value| value["id"].as_str().unwrap().to_owned();
    let booked =
        server.post_message(crate::support::server::WIDGET, "Book a demo next Tuesday at 10:00").send().await;
    assert_eq!(booked.status, 200, "{}", booked.text());
    let turn = booked.header("rejoinder-turn").unwrap().to_owned();
    let message = server.get(&format!("/v1/turns/{turn}")).await.json()["data"]["message_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let conversation = server.conversation_id(crate::support::server::WIDGET).await;
    let (key, key_id) = keys::create(server, Scope::ALL).await;
    let operator = Operator::new(server).await;
    let named = async |path: &str, name: &str| {
        let answer = operator.post(path, &json!({"slug": name, "name": name})).await;
        id(&answer.json()["data"])
    };
    let workspace = named("/workspaces", "mine").await;
    let of_workspace = format!("/workspaces/{workspace}/keys");
    let workspace_key =
        operator.post(&of_workspace, &json!({"name": "mine", "scopes": ["read"]})).await.json()["data"]["id"]
            .clone();
    let hours = json!({"mon": ["09:00-17:00"], "wed": ["09:00-17:00"], "fri": ["09:00-17:00"]});
    let calendar = json!({"slug": "mine", "time_zone": "Europe/Berlin", "hours": hours, "horizon_days": 60});
    let calendar = id(&post("/v1/calendars", calendar).await);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let week = today.checked_add(jiff::Span::new().days(7)).unwrap();
    let free = server.get(&format!("/v1/calendars/{calendar}/availability?from={today}&to={week}")).await;
    let start = free.json()["data"]["slots"][0]["start"].clone();
    let booking = json!({"start": start, "title": "Demo", "name": "Ada", "email": "ada@example.com"});
    let booking = id(&post(&format!("/v1/calendars/{calendar}/bookings"), booking).await);
    let assistant = json!({"slug": "mine", "name": "Mine", "system_prompt": "You help."});
    let assistant = id(&post("/v1/assistants", assistant).await["assistant"]);
    let tool = json!({
        "slug": "orders", "kind": "webhook", "name": "get_order", "description": "Finds something.",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
        "method": "GET", "url": "https://shop.example/orders/{order_id}",
    });
    let tool = id(&post("/v1/tools", tool).await["tool"]);
    let secret = id(&post(&format!("/v1/assistants/{assistant}/identity_secrets"), json!({})).await);
    let erasure = server.request("POST", "/v1/erasures").bearer(&key).json(&json!({"sender_id": "nobody"}));
    let erasure = id(&erasure.send().await.json()["data"]);
    let base = id(&post("/v1/knowledge_bases", json!({"slug": "mine"})).await);
    let document = json!({"title": "Terms", "text": "Within 14 days."});
    let document = id(&post(&format!("/v1/knowledge_bases/{base}/documents"), document).await);
    let endpoint = id(&post("/v1/webhook_endpoints", json!({"url": "https://crm.example/hooks"})).await);
    let delivery = id(&post(&format!("/v1/webhook_endpoints/{endpoint}/test"), json!({})).await);
    vec![
        ("CONVERSATION", conversation),
        ("WIDGET_UUID", crate::support::server::WIDGET.to_owned()),
        ("TURN", turn),
        ("MESSAGE", message),
        ("CALENDAR", calendar),
        ("BOOKING", booking),
        ("KNOWLEDGE_BASE", base),
        ("DOCUMENT", document),
        ("WEBHOOK_ENDPOINT", endpoint),
        ("DELIVERY", delivery),
        ("TOOL", tool),
        ("ASSISTANT", assistant),
        ("IDENTITY_SECRET", secret),
        ("VERSION", "1".to_owned()),
        ("ERASURE", erasure),
        ("KEY_ID", key_id),
        ("KEY", key),
        ("OPERATOR_KEY", operator.key),
        ("WORKSPACE", workspace),
        ("WORKSPACE_KEY_ID", workspace_key.as_str().unwrap().to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_talks_to_the_widget_api() {
    let (_db, server) = start_without_settings().await;
    let page =
        axum::Router::new().route("/", axum::routing::get(async || axum::response::Html("<p>Shop</p>")));
    let page = crate::support::router_server::RouterServer::start(page).await;
    let browser = Browser::open().await;

    browser.visit(&page.url()).await;
    let url = format!("{}/api/conversations/{}/messages", server.url(), crate::support::server::WIDGET);
    let script = format!(
        "const request = new XMLHttpRequest();
         request.open('POST', '{url}', false);
         request.setRequestHeader('Content-Type', 'application/json');
         request.setRequestHeader('Idempotency-Key', 'k');
         request.send(JSON.stringify({{ message: 'Hello' }}));
         return [request.status, JSON.parse(request.responseText).status, request.getResponseHeader('Rejoinder-Turn')];"
    );
    let answer = browser.evaluate(&script).await;

    assert_eq!((&answer[0], &answer[1]), (&200.into(), &true.into()), "{answer}");
    assert!(answer[2].as_str().unwrap().starts_with("trn_"), "our headers are exposed: {answer}");
}

#[test]
fn the_reference_names_the_conversation_of_the_demo_workspace() {
    let page = include_str!("../../../src/http/pages/assets/docs_schema.js");

    assert!(page.contains(&format!("const UUID = \"{DEMO_CONVERSATION}\"")));
    assert!(DEMO_FILE.contains(DEMO_CONVERSATION));
}

#[test]
fn the_assistant_of_the_demo_page_is_in_the_demo_workspace() {
    assert!(DEMO_FILE.contains(&format!("id = \"{DEMO_ASSISTANT}\"")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_the_demo_says_how_to_create_it() {
    let db = store::sqlite().await;
    let other = |text: String| text.replace(DEMO_ASSISTANT, "550e8401-e29b-41d4-a716-446655440000");
    let server = Setup::default().workspace(other).start(&db).await;
    let browser = Browser::open().await;

    browser.visit(&server.url()).await;

    browser.wait_for_text("#absent", "rejoinder apply config/demo/workspace.toml").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_of_a_restricted_assistant_works_as_a_page_of_this_server() {
    let db = store::sqlite().await;
    let server = TestServer::start(&db).await;
    let browser = Browser::open().await;

    browser.visit(&format!("{}/chat/{RESTRICTED}", server.url())).await;
    browser.wait_for_text(".title", "Guarded").await;
    browser.find("#message").await.type_text("Hello").await;
    browser.find(".send").await.click().await;
    browser.find(".entry.assistant .prose").await;
    // The reply is complete when the next message can be sent.
    browser.find(".send[data-state=send]").await;

    assert_eq!(server.query_number("select count(*) from turns where state = 'completed'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_options_page_shows_a_change_in_the_code_and_in_the_chat() {
    let (_db, server) = start_without_settings().await;
    let browser = Browser::open().await;
    // In a low window the chat would cover the page.
    browser.set_viewport(1280, 800).await;

    browser.visit(&format!("{}/widget", server.url())).await;
    browser.find("#option-title").await.type_text("Ask us").await;
    browser.wait_for_text("#snippet", "data-title=\"Ask us\"").await;
    browser.find(".launcher").await.click().await;

    browser.wait_for_text(".title", "Ask us").await;
    browser.wait_for_text("#events", "open").await;

    // Options that have their defaults do not change what the chat is.
    let choose = "const theme = document.querySelector('#option-theme');
        theme.value = 'dark';
        theme.dispatchEvent(new Event('input', { bubbles: true }));";
    browser.evaluate(choose).await;
    browser.wait_for_text("#snippet", "data-theme=\"dark\"").await;
    browser.find("[data-action=close]").await.click().await;
    browser.wait_for_text("#events", "close").await;
    assert_eq!(browser.count("dialog[open]").await, 0);
}
