//! Connections that lead to a standby, whose rows are old, or to a server that is read-only.

use std::time::{Duration, Instant};

use futures::future::join_all;
use rejoinder::domain::clock::SystemClock;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::Db;
use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::http::{Request, Response};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::replication::Replication;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

const CONVERSATIONS: usize = 12;
/// The longest time until a client is refused.
const PROMPT: Duration = Duration::from_secs(5);

const WIDGET_AWAY: &str =
    r#"{"status":false,"error":"Failed to process message: The service is temporarily unavailable"}"#;
const PLATFORM_AWAY: &str =
    r#"{"status":"error","message":"The service is temporarily unavailable. Please retry.","data":null}"#;

async fn create_key(db: &Db) -> String {
    let request = CreateKey {
        workspace: "demo".to_owned(),
        name: "late".to_owned(),
        scopes: Vec::new(),
        expires_in: None,
    };
    let (secret, _) = keys::create(db, &SystemClock, &IdGenerator::random(), request).await.unwrap();
    secret.expose().to_owned()
}

fn reply_with_prompt(server: &TestServer) {
    let reply = |request: &ModelRequest| Reply::text(&format!("re: {}", request.prompt().unwrap()));
    server.model.script().respond_with(reply);
}

async fn send(server: &TestServer, con: &str, text: &str) {
    let answer = server.post_message(con, text).send().await;
    assert_eq!(answer.text(), reply_to(text));
}

fn reply_to(text: &str) -> String {
    format!(r#"{{"status":true,"message":"re: {text}","function_calls":[]}}"#)
}

fn is_refused(answer: &Response) -> bool {
    answer.text().contains("temporarily unavailable") || answer.text().contains("Please retry")
}

/// Sends a request until it is not refused.
async fn accepted(what: &str, request: impl Fn() -> Request) -> Response {
    wait_for(what, async || Some(request().send().await).filter(|answer| !is_refused(answer))).await
}

async fn assert_refused(request: Request, text: &str) {
    let began = Instant::now();
    let answer = request.send().await;
    assert_eq!(answer.text(), text);
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
}

async fn wait_for_readiness(server: &TestServer, reason: Option<&str>) {
    wait_for("the readiness", async || {
        let answer = server.request("GET", "/readyz").send().await;
        let is_expected = match reason {
            None => answer.status == 200,
            Some(reason) => answer.status == 503 && answer.text().contains(reason),
        };
        is_expected.then_some(())
    })
    .await;
}

/// The standby knows neither the key nor the conversations, and only the first of the messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_comes_from_a_standby() {
    let replication = Replication::start();
    let db = store::postgres_in(replication.primary()).await;
    let (primary, standby) = (db.url(), replication.on_standby(&db.url()));
    let proxy = Proxy::start(&primary).await;
    let writer = Setup::default().system_clock().start(&db).await;
    reply_with_prompt(&writer);
    let old = join_all((0..CONVERSATIONS).map(|_| writer.create_conversation())).await;
    join_all(old.iter().map(|con| send(&writer, con, "one"))).await;
    replication.pause_replay().await;
    join_all(old.iter().map(|con| send(&writer, con, "two"))).await;
    let new = join_all((0..CONVERSATIONS).map(|_| writer.create_conversation())).await;
    let key = create_key(writer.db()).await;
    let setup = Setup::default().system_clock().database_url(proxy.url());
    let server = writer.start_peer(&db, setup).await;
    let balance = |key: &str| server.request("GET", "/v1/balance").bearer(key);
    let history = |con: &str| server.request("GET", &format!("/api/conversations/{con}"));

    proxy.lead_to(&[&standby]);
    tokio::join!(
        assert_refused(balance(&key), PLATFORM_AWAY),
        assert_refused(history(&new[0]), WIDGET_AWAY),
        assert_refused(server.post_message(&old[0], "three"), WIDGET_AWAY),
        wait_for_readiness(&server, Some("the server is a standby")),
    );

    proxy.lead_to(&[&primary, &standby]);
    join_all(old.iter().zip(&new).enumerate().map(async |(number, (old, new))| {
        let text = format!("four {number}");
        let replied = accepted("the reply", || server.post_message(old, &text)).await;
        assert_eq!(replied.text(), reply_to(&text));
        assert_eq!(accepted("the link", || history(new)).await.status, 200);
        assert_eq!(accepted("the balance", || balance(&key)).await.status, 200);
    }))
    .await;
    replication.wait_for_no_session_on_standby().await;

    proxy.lead_to(&[&primary]);
    wait_for_readiness(&server, None).await;
    server.stop().await;
    writer.stop().await;
}

/// A whole database becomes read-only, as when a provider's disk is full: its rows are not old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_is_read_and_reported() {
    let set = |setting: &str| {
        format!(
            "begin read write; do $$ begin execute format('alter database %I {setting}', current_database()); \
             end $$; commit"
        )
    };
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let server = Setup::default().system_clock().database_url(proxy.url()).start(&db).await;
    reply_with_prompt(&server);

    seed::execute(&db, &set("set default_transaction_read_only = on")).await;
    proxy.lead_to(&[&db.url()]);
    wait_for_readiness(&server, Some("the server is read-only")).await;
    assert_refused(server.post_message(WIDGET, "one"), WIDGET_AWAY).await;
    let balance = || server.request("GET", "/v1/balance").bearer(&server.keys.full);
    assert_eq!(accepted("the balance", balance).await.status, 200);

    seed::execute(&db, &set("reset default_transaction_read_only")).await;
    proxy.lead_to(&[&db.url()]);
    wait_for_readiness(&server, None).await;
    let replied = accepted("the reply", || server.post_message(WIDGET, "two")).await;
    assert_eq!(replied.text(), reply_to("two"));
    server.stop().await;
}

/// The probe comes so often that its connection is never idle, so nothing but its error shows that it is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lost_connection_of_a_probe_is_replaced() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let server = Setup::default().system_clock().database_url(proxy.url()).start(&db).await;
    wait_for_readiness(&server, None).await;

    proxy.set(LinkState::Down);
    wait_for_readiness(&server, Some("the connection was closed")).await;
    proxy.set(LinkState::Up);

    wait_for_readiness(&server, None).await;
    server.stop().await;
}

both_backends!(
    async fn a_turn_whose_message_is_not_in_its_history_reads_it_again(db: TestDb) {
        let setup = || Setup::default().env("REJOINDER_SHUTDOWN_GRACE", "100ms").system_clock();
        let server = setup().start(&db).await;
        reply_with_prompt(&server);
        let message =
            |text: &str| json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string();
        let sent = server.enqueue(message("First")).send().await.json();
        let con = sent["data"]["conversation_id"].as_str().unwrap();
        server.wait_for_messages(con, 2).await;
        let never = Gate::closed();
        server.model.script().queue([Reply::text("Never.").gated_by(&never)]);
        let mut second: serde_json::Value = serde_json::from_str(&message("Second")).unwrap();
        second["conversation_id"] = json!(con);
        server.enqueue(second.to_string()).send().await;
        server.model.calls().wait_for_count(2).await;

        let hide = "create table hidden as select * from messages where text = 'Second'; \
            delete from messages where text = 'Second'";
        seed::execute(&db, hide).await;
        let server = server.restart(&db, setup()).await;
        let running = "select count(*) from turns where state = 'running'";
        wait_for("the turn", async || (seed::query_number(&db, running).await == 1).then_some(())).await;
        seed::execute(&db, "insert into messages select * from hidden; drop table hidden").await;

        let messages = server.wait_for_messages(con, 4).await;
        let texts: Vec<_> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["First", "re: First", "Second", "re: Second"]);
        server.stop().await;
    }
);
