//! No tool call and no delivery reaches an address that is not public, even if the configuration contains it (written past the
//! check), a response redirects to it, or the model's arguments contain it.

use http::{StatusCode, header};
use rejoinder::domain::ids::EndpointId;
use rejoinder::domain::seal::{SealKey, SealKeys, SecretContext};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::address_encodings::{named, urls};
use super::canary::Canary;
use crate::support::db::{TestDb, both_backends};
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::receiver;
use crate::support::seed;
use crate::support::server::{ASSISTANT, Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;
use crate::support::workspaces::SEAL_KEY;

const REDIRECTS: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

fn all(canary: &Canary) -> Vec<String> {
    [urls(canary.port()), named(canary.port())].concat()
}

/// An SQL string literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Adds a tool to the assistant for each URL, without the checks of the configuration: `call_0`, `call_1`, … Each is a copy of
/// the tool with the slug `like`, changed by `set_url`.
async fn give_tools(db: &TestDb, urls: &[String], like: &str, set_url: impl Fn(&mut Value, &str)) {
    let assistant = seed::literal(db, ASSISTANT.parse().unwrap());
    let select = format!(
        "select compiled from assistant_versions where assistant_id = {assistant} order by version limit 1"
    );
    let mut compiled: Value = serde_json::from_str(&seed::query_texts(db, &select).await[0]).unwrap();
    let tools = compiled["tools"].as_array_mut().unwrap();
    let like = tools.iter().find(|tool| tool["slug"] == like).unwrap().clone();
    tools.extend(urls.iter().enumerate().map(|(nth, url)| {
        let mut tool = like.clone();
        tool["slug"] = json!(format!("call-{nth}"));
        tool["name"] = json!(format!("call_{nth}"));
        set_url(&mut tool, url);
        tool
    }));
    let compiled = quoted(&compiled.to_string());
    let put = format!(
        "insert into assistant_versions select workspace_id, assistant_id, max(version) + 1, {compiled}, 0 \
         from assistant_versions where assistant_id = {assistant} group by workspace_id, assistant_id;
         update assistants set current_version = current_version + 1 where id = {assistant};"
    );
    seed::configure(db, &put).await;
}

/// The results of these calls in one turn.
async fn results(server: &TestServer, calls: impl IntoIterator<Item = ToolCall>) -> Vec<Value> {
    server.model.script().queue([Reply::tool_calls(calls), Reply::text("Done.")]);
    let response = server.post_message(WIDGET, "Try them all").send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    let body = response.json();
    body["function_calls"].as_array().unwrap().iter().map(|call| call["result"].clone()).collect()
}

both_backends!(
    async fn no_webhook_tool_calls_any_encoding_of_a_private_address(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_TOOL_CALLS", "1000").start(&db).await;
        let canary = Canary::start();
        let urls = all(&canary);
        give_tools(&db, &urls, "notes", |tool, url| tool["kind"]["webhook"]["url"] = json!(url)).await;
        let note = json!({ "text": "x" });

        let calls = (0..urls.len()).map(|nth| ToolCall::new(&format!("call_{nth}"), &note));
        let results = results(&server, calls).await;

        assert_eq!(results.len(), urls.len());
        for (url, result) in urls.iter().zip(&results) {
            let error = result["error"].as_str().unwrap_or_default();
            assert!(error.starts_with("The call was not sent: the URL"), "{url:?}: {result}");
            assert!(!error.contains("127.0.0.1") && !error.contains(&*canary.port().to_string()), "{error}");
        }
        assert!(results.len() >= 80);
        assert_eq!(canary.connections(), 0);
    }
);

both_backends!(
    async fn no_calendar_and_no_mcp_tool_calls_a_private_address(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_TOOL_CALLS", "1000").start(&db).await;
        let canary = Canary::start();
        let urls = all(&canary);
        give_tools(&db, &urls, "notes", |tool, url| {
            tool["kind"] = json!({ "mcp": { "url": url } });
        })
        .await;
        let calls = (0..urls.len()).map(|nth| ToolCall::new(&format!("call_{nth}"), &json!({ "text": "x" })));
        let of_mcp = results(&server, calls).await;
        for (url, result) in urls.iter().zip(&of_mcp) {
            let error = result["error"].as_str().unwrap_or_default();
            assert!(error.starts_with("The call was not sent: the URL"), "{url:?}: {result}");
            assert!(!error.contains("127.0.0.1") && !error.contains(&*canary.port().to_string()), "{error}");
        }

        give_tools(&db, &urls, "availability", |tool, url| {
            tool["kind"]["calendar_availability"]["calendar"]["caldav"] = json!({ "url": url });
        })
        .await;
        let days = json!({ "start_date": "2026-03-16", "end_date": "2026-03-20" });
        let calls = (0..urls.len()).map(|nth| ToolCall::new(&format!("call_{nth}"), &days));
        let of_calendars = results(&server, calls).await;
        for (url, result) in urls.iter().zip(&of_calendars) {
            assert_eq!(result["error"], "The calendar cannot be read at the moment.", "{url:?}");
        }

        assert!(of_mcp.len() >= 80 && of_calendars.len() >= 80);
        assert_eq!(canary.connections(), 0);
    }
);

both_backends!(
    async fn no_webhook_is_delivered_to_any_encoding_of_a_private_address(db: TestDb) {
        let server = Setup::default().start(&db).await;
        let canary = Canary::start();
        let urls = all(&canary);
        let good = server.tool.url("/hook");
        let endpoint = receiver::create_endpoint(&server, &db, good.clone()).await;
        let (workspace, secret) = (endpoint.account.workspace, SecretString::from(endpoint.secret));
        let keys = SealKeys::from(SealKey::new(SEAL_KEY));
        for url in &urls {
            let id = Uuid::now_v7();
            // The same for all would not open.
            let context = SecretContext::of_endpoint(workspace, EndpointId(id));
            let sealed = keys.seal(&context, &secret, [1; 24]).unwrap();
            let (id, url, sealed) = (seed::literal(&db, id), quoted(url), quoted(sealed.as_str()));
            let put = format!(
                "insert into webhook_endpoints select workspace_id, {id}, null, null, {url}, types, {sealed}, \
                 null, null, enabled, null, null, from_file, null, created_at, updated_at \
                 from webhook_endpoints where url = {}",
                quoted(&good)
            );
            seed::configure(&db, &put).await;
        }
        let con = server.conversation_id(WIDGET).await;

        server.store_message(Some(&con), "Hi").await;

        let expected = i64::try_from(urls.len()).unwrap();
        let finished = "select count(distinct endpoint_id) from attempts where finished_at is not null";
        let attempted = async || (server.query_number(finished).await > expected).then_some(());
        wait_for("an attempt at each endpoint", attempted).await;
        let outcomes = seed::query_texts(
            &db,
            "select distinct a.outcome || ' ' || e.url from attempts a join webhook_endpoints e \
             on e.id = a.endpoint_id where a.outcome <> 'blocked'",
        )
        .await;
        assert_eq!(outcomes, [format!("delivered {good}")]);
        let blocked = "select count(distinct endpoint_id) from attempts where outcome = 'blocked'";
        assert_eq!(server.query_number(blocked).await, expected);
        assert!(expected >= 80);
        assert_eq!(canary.connections(), 0);
    }
);

both_backends!(
    async fn a_redirect_to_a_private_address_is_not_followed(db: TestDb) {
        let server = Setup::default().start(&db).await;
        let canary = Canary::start();
        let port = canary.port();
        let locations = [
            format!("http://127.0.0.1:{port}/"),
            format!("//127.0.0.1:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://[::1]:{port}/"),
        ];
        let redirects: Vec<_> = REDIRECTS
            .iter()
            .flat_map(|status| locations.iter().map(move |to| (*status, to.clone())))
            .collect();
        let redirect = |(status, to): &(StatusCode, String)| {
            ToolReply::status(*status).with_header(header::LOCATION, to)
        };
        server.tool.script().queue(redirects.iter().map(redirect));

        let order = || ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        let results = results(&server, redirects.iter().map(|_| order())).await;

        assert_eq!(results.len(), 20);
        for result in &results {
            assert!(result["error"].as_str().unwrap().contains("redirect"), "{result}");
        }

        for (nth, _) in redirects.iter().enumerate() {
            receiver::create_endpoint(&server, &db, server.tool.url(&format!("/hook/{nth}"))).await;
        }
        server.tool.script().queue(redirects.iter().map(redirect));
        let con = server.conversation_id(WIDGET).await;
        server.store_message(Some(&con), "Hi").await;
        let redirected = "select count(*) from attempts where outcome = 'redirected'";
        let attempted = async || (server.query_number(redirected).await >= 20).then_some(());
        wait_for("an attempt at each endpoint", attempted).await;
        assert_eq!(server.tool.calls().all().len(), 40);
        assert_eq!(canary.connections(), 0);
    }
);

both_backends!(
    async fn a_redirect_of_an_mcp_server_is_not_followed(db: TestDb) {
        let server = Setup::default().start(&db).await;
        let canary = Canary::start();
        give_tools(&db, &[server.tool.url("/mcp")], "notes", |tool, url| {
            tool["kind"] = json!({ "mcp": { "url": url } });
        })
        .await;
        let before = server.tool.calls().all().len();

        for status in REDIRECTS {
            let to = format!("http://127.0.0.1:{}/mcp", canary.port());
            let redirect = ToolReply::status(status).with_header(header::LOCATION, &to);
            server.tool.script().respond_with(move |_| redirect.clone());
            let call_results = results(&server, [ToolCall::new("call_0", &json!({ "text": "x" }))]).await;
            assert!(call_results[0]["error"].as_str().unwrap().contains("redirect"), "{call_results:?}");
        }

        assert!(server.tool.calls().all().len() >= before + REDIRECTS.len());
        assert_eq!(canary.connections(), 0);
    }
);

both_backends!(
    async fn model_arguments_cannot_change_the_called_host(db: TestDb) {
        let anywhere = |text: String| {
            // Only the host is fixed; the model's argument is the rest.
            text.replace("/orders/{order_id}", "/{order_id}")
        };
        let server = Setup::default().workspace(anywhere).start(&db).await;
        let canary = Canary::start();
        let port = canary.port();
        let arguments = [
            format!("//127.0.0.1:{port}/"),
            format!("@127.0.0.1:{port}/"),
            format!(":x@127.0.0.1:{port}/"),
            format!("\\\\127.0.0.1:{port}\\"),
            format!("http://127.0.0.1:{port}/"),
            format!("%2f%2f127.0.0.1:{port}/"),
            format!("..//127.0.0.1:{port}"),
            format!("\r\nHost: 127.0.0.1:{port}\r\n\r\n"),
            format!("?url=http://127.0.0.1:{port}"),
            format!("#@127.0.0.1:{port}"),
            "../../..".to_owned(),
            "..".to_owned(),
        ];

        let calls = arguments.iter().map(|id| ToolCall::new("get_order_status", &json!({ "order_id": id })));
        let results = results(&server, calls).await;

        for (argument, result) in arguments.iter().zip(&results) {
            let is_reported = result["ok"] == true || result["error"].is_string();
            assert!(is_reported, "{argument:?}: {result}");
        }
        for call in server.tool.calls().all() {
            assert_eq!(call.request.headers["host"], server.tool.host(), "{}", call.request.uri);
            assert_eq!(call.request.uri.path().matches('/').count(), 1, "{}", call.request.uri);
        }
        assert!(!server.tool.calls().all().is_empty());
        assert_eq!(canary.connections(), 0);
    }
);
