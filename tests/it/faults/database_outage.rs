//! The database is unavailable or hangs: both APIs report it in the contract's words and in time, and recover.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::db::TestDb;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::http::{Request, Response};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

/// The longest time until a client is refused.
const PROMPT: Duration = Duration::from_secs(5);

const WIDGET_AWAY: &str =
    r#"{"status":false,"error":"Failed to process message: The service is temporarily unavailable"}"#;
const ENQUEUE_AWAY: &str =
    r#"{"status":"error","message":"Failed to enqueue message. Please retry.","data":null}"#;
const PLATFORM_AWAY: &str =
    r#"{"status":"error","message":"The service is temporarily unavailable. Please retry.","data":null}"#;

fn message(con: &str, text: &str) -> String {
    json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": text }).to_string()
}

/// Starts a turn of the platform API whose model answers when the gate opens.
async fn held_turn(server: &TestServer) -> (String, Gate) {
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    server.model.script().respond_with(move |request: &ModelRequest| {
        let prompt = request.prompt().unwrap();
        let reply = Reply::text(&format!("re: {prompt}"));
        if prompt == "held" { reply.gated_by(&reply_gate) } else { reply }
    });
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": "held" }).to_string();
    let sent = server.enqueue(body).send().await.json();
    server.model.calls().wait_for_count(1).await;
    (sent["data"]["conversation_id"].as_str().unwrap().to_owned(), gate)
}

async fn timed(request: Request) -> (Response, Duration) {
    let began = Instant::now();
    (request.send().await, began.elapsed())
}

async fn is_ready(server: &TestServer) -> bool {
    server.request("GET", "/readyz").send().await.status == 200
}

/// Checks both APIs while the database is unavailable.
async fn assert_refused(server: &TestServer, con: &str) {
    let history = format!("/api/conversations/{WIDGET}");
    let (widget, enqueued, balance, history, ready, alive) = tokio::join!(
        timed(server.post_message(WIDGET, "while away")),
        timed(server.enqueue(message(con, "while away"))),
        timed(server.request("GET", "/v1/balance").bearer(&server.keys.full)),
        timed(server.request("GET", &history)),
        timed(server.request("GET", "/readyz")),
        timed(server.request("GET", "/healthz")),
    );
    let expected = [
        (&widget, 400, Some(WIDGET_AWAY)),
        (&enqueued, 500, Some(ENQUEUE_AWAY)),
        (&balance, 500, Some(PLATFORM_AWAY)),
        (&history, 400, Some(WIDGET_AWAY)),
        (&ready, 503, None),
        (&alive, 200, None),
    ];
    for ((answer, took), status, text) in expected {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(text.is_none_or(|text| text == answer.text()), "{}", answer.text());
        assert!(*took < PROMPT, "{took:?} for {}", answer.text());
    }
    for (answer, _) in [&balance, &history] {
        assert_eq!(answer.header("rejoinder-error"), Some("service_unavailable"));
    }
}

async fn wait_for_texts(server: &TestServer, con: &str, last: &str) -> Vec<String> {
    wait_for(last, async || {
        let messages: Vec<Value> = server.messages(con).await;
        let texts: Vec<_> =
            messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect();
        texts.iter().any(|text| text == last).then_some(texts)
    })
    .await
}

/// The database fails during a turn, and recovers.
async fn fails_and_recovers(db: &TestDb, proxy: &Proxy, fault: LinkState) {
    let server = Setup::default().database_url(proxy.url()).system_clock().start(db).await;
    let widget = server.conversation_id(WIDGET).await;
    let (con, gate) = held_turn(&server).await;

    proxy.set(fault);
    wait_for("the server to be not ready", async || (!is_ready(&server).await).then_some(())).await;
    assert_refused(&server, &con).await;
    gate.open();
    assert_refused(&server, &con).await;
    proxy.set(LinkState::Up);

    let back = Instant::now();
    wait_for("the server to be ready", async || is_ready(&server).await.then_some(())).await;
    assert!(back.elapsed() < PROMPT, "{:?}", back.elapsed());
    let texts = wait_for_texts(&server, &con, "re: held").await;
    assert_eq!(texts, ["held", "re: held"], "the refused messages are not stored");
    let answer = server.post_message(WIDGET, "again").send().await;
    assert_eq!(answer.text(), r#"{"status":true,"message":"re: again","function_calls":[]}"#);
    assert_eq!(server.messages(&widget).await.len(), 3);
    assert_eq!(server.balance().await, "9.99");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_database_is_reported_and_recovers() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    Box::pin(fails_and_recovers(&db, &proxy, LinkState::Down)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_database_is_reported_and_recovers() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    Box::pin(fails_and_recovers(&db, &proxy, LinkState::Frozen)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silently_lost_connections_are_replaced() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    Box::pin(fails_and_recovers(&db, &proxy, LinkState::BlackHole)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_sqlite_file_is_reported_within_the_clients_timeout() {
    let db = store::sqlite().await;
    let server = Setup::default().system_clock().start(&db).await;
    let (con, gate) = held_turn(&server).await;
    let other = store::open(&db).await;
    let lock = other.begin().await.unwrap();

    let (widget, enqueued, balance) = tokio::join!(
        timed(server.post_message(WIDGET, "while locked")),
        timed(server.enqueue(message(&con, "while locked"))),
        timed(server.request("GET", "/v1/balance").bearer(&server.keys.full)),
    );
    gate.open();
    drop(lock);

    assert_eq!((widget.0.status, widget.0.text()), (400, WIDGET_AWAY));
    assert_eq!((enqueued.0.status, enqueued.0.text()), (500, ENQUEUE_AWAY));
    assert!(widget.1 < PROMPT && enqueued.1 < PROMPT, "{:?}, {:?}", widget.1, enqueued.1);
    for (answer, _) in [&widget, &enqueued] {
        assert_eq!(answer.header("rejoinder-error"), Some("service_unavailable"), "nothing was stored");
    }
    assert_eq!(balance.0.status, 200, "readers do not wait for writers");
    assert_eq!(wait_for_texts(&server, &con, "re: held").await, ["held", "re: held"]);
    assert_eq!(server.post_message(WIDGET, "again").send().await.status, 200);
    server.stop().await;
    other.close().await;
}
