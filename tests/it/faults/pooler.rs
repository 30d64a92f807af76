//! PgBouncer in transaction mode, which sends each transaction of a connection to another session of the server.

use futures::future::join_all;
use rejoinder::store::{Db, PostgresSettings, Tenant, workspaces};
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::pgbouncer::PgBouncer;
use crate::support::seed;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

const CONVERSATIONS: usize = 12;

async fn exchange(server: &TestServer, con: &str, text: &str) {
    let answer = server.post_message(con, text).send().await;
    let expected = format!(r#"{{"status":true,"message":"re: {text}","function_calls":[]}}"#);
    assert_eq!(answer.text(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_apis_work_behind_a_pooler_that_changes_the_session_with_each_transaction() {
    let db = store::postgres().await;
    let bouncer = PgBouncer::start(&db.url(), "server_round_robin = 1").await;
    let setup = || {
        let setup = Setup::default().system_clock().database_url(bouncer.url());
        setup.env("REJOINDER_STORE__TRANSACTION_POOLER", "true")
    };
    let first = setup().start(&db).await;
    first.model.script().respond_with(|request: &ModelRequest| {
        let prompt = request.prompt().unwrap();
        Reply::text(&format!("re: {prompt}"))
    });
    let cons = join_all((0..CONVERSATIONS).map(|_| first.create_conversation())).await;
    join_all(cons.iter().map(|con| exchange(&first, con, "one"))).await;
    // Another process has no history in memory.
    let second = first.start_peer(&db, setup()).await;
    for text in ["two", "three"] {
        join_all(cons.iter().map(|con| exchange(&second, con, text))).await;
    }

    let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
    first.model.script().queue([Reply::tool_calls([call]), Reply::text("It is on its way.")]);
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Where is order 7?" }).to_string();
    let sent = second.enqueue(body).send().await.json();
    let con = sent["data"]["conversation_id"].as_str().unwrap();
    let messages = first.wait_for_messages(con, 2).await;

    assert_eq!(messages[1]["text"], "It is on its way.");
    let ready = async || (second.request("GET", "/readyz").send().await.status == 200).then_some(());
    wait_for("the server to be ready", ready).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_is_not_declared_is_refused() {
    let db = store::postgres().await;
    let bouncer = PgBouncer::start(&db.url(), "").await;

    let error = Db::postgres(bouncer.url(), 1, 1).await.unwrap_err().to_string();

    assert!(error.contains("set `store.transaction_pooler`"), "{error}");
}

/// Two connections of a pooler that others use may have two sessions of the server, but none keeps its session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_with_many_sessions_that_is_not_declared_is_refused() {
    let db = store::postgres().await;
    let bouncer = PgBouncer::start(&db.url(), "server_round_robin = 1").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut other = PgConnection::connect(bouncer.url()).await.unwrap();
        sqlx::raw_sql("begin").execute(&mut other).await.unwrap();
        others.push(other);
    }
    for other in &mut others {
        sqlx::raw_sql("commit").execute(other).await.unwrap();
    }

    let error = Db::postgres(bouncer.url(), 1, 1).await.unwrap_err().to_string();

    assert!(error.contains("set `store.transaction_pooler`"), "{error}");
}

/// As without a pooler: its rows are not old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_is_read_and_not_written() {
    let db = store::postgres().await;
    let set = "do $$ begin execute format('alter database %I set default_transaction_read_only = on', \
        current_database()); end $$";
    seed::execute(&db, set).await;
    let bouncer = PgBouncer::start(&db.url(), "").await;
    let settings = PostgresSettings { transaction_pooler: true, ..PostgresSettings::new(1, 1) };
    let store = Db::postgres_with(bouncer.url(), settings).await.unwrap();

    let read = store.read(Tenant::Process, async |conn| workspaces::count(conn).await).await;
    let written = store.begin().await.unwrap_err().to_string();

    assert_eq!(read.unwrap(), 0);
    assert!(written.contains("the server is read-only"), "{written}");
}
