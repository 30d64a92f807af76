//! A process that cannot renew its lease sends nothing until it has.

use serde_json::json;

use crate::support::fake_model::{Reply, ToolCall};
use crate::support::proxy::{LinkState, Proxy};
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

async fn lease(server: &TestServer, has: bool) {
    wait_for("the lease", async || (server.worker().lease() == has).then_some(())).await;
}

async fn send(server: &TestServer, text: &str) -> (String, String) {
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string();
    let answer = server.enqueue(body).send().await;
    let con = answer.json()["data"]["conversation_id"].as_str().unwrap().to_owned();
    (con, answer.header("rejoinder-turn").unwrap().to_owned())
}

async fn state(server: &TestServer, turn: &str) -> serde_json::Value {
    server.get(&format!("/v1/turns/{turn}")).await.json()["data"]["state"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_its_lease_starts_no_turn_and_no_call() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let setup = Setup::default().env("REJOINDER_TURN__LEASE", "2s").lease_database_url(proxy.url());
    let server = setup.system_clock().start(&db).await;
    let gate = Gate::closed();
    let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
    server.model.script().queue([Reply::tool_calls([call]).gated_by(&gate)]);
    let (running, _) = send(&server, "Where is order 7?").await;
    server.model.calls().wait_for_count(1).await;

    proxy.set(LinkState::BlackHole);
    lease(&server, false).await;
    gate.open();
    let journalled = async || (server.query_number("select count(*) from journal").await == 2).then_some(());
    wait_for("the model's answer in the journal", journalled).await;
    let (admitted, turn) = send(&server, "Hi").await;

    assert_eq!(state(&server, &turn).await, "queued");
    assert_eq!(server.tool.calls().all().len(), 0, "no tool is called");
    assert_eq!(server.model.calls().all().len(), 1);
    proxy.set(LinkState::Up);
    lease(&server, true).await;
    server.wait_for_messages(&running, 2).await;
    server.wait_for_messages(&admitted, 2).await;
    assert_eq!(server.tool.calls().all().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_taken_over_by_another_process_are_released_silently() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let setup = || Setup::default().env("REJOINDER_TURN__LEASE", "2s").system_clock();
    let first = setup().lease_database_url(proxy.url()).start(&db).await;
    let second = first.start_peer(&db, setup()).await;
    let gate = Gate::closed();
    let never = Reply::text("Never.").gated_by(&gate);
    first.model.script().queue([never, Reply::text("From the other.")]);
    let (con, _) = send(&first, "Hi").await;
    first.model.calls().wait_for_count(1).await;

    proxy.set(LinkState::Frozen);
    let messages = second.wait_for_messages(&con, 2).await;
    gate.open();
    proxy.set(LinkState::Up);
    lease(&first, true).await;

    assert_eq!(messages[1]["text"], "From the other.");
    assert_eq!(second.messages(&con).await, messages);
    assert_eq!(second.events("message.created").await.len(), 2);
    first.stop().await;
    second.stop().await;
}
