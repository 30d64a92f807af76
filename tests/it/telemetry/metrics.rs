//! The metrics of a server process.

use http::StatusCode;
use serde_json::json;

use crate::support::binary::Sandbox;
use crate::support::fake_model::{FakeModel, Reply};
use crate::support::wait::wait_for;
use crate::support::workspaces::MINE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_money_connections_and_shares_are_measured() {
    let model = FakeModel::start().await;
    let sandbox = Sandbox::new();
    let env = [("OPENAI_BASE_URL", model.base_url()), ("OPENAI_MODEL", "fake".to_owned())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = sandbox.start_server_with_env(&env).await;
    let (key, _) = sandbox.apply_workspace("mine", MINE, &[]);
    model.script().queue([
        Reply::text("One."),
        Reply::text("Two."),
        Reply::error(StatusCode::BAD_REQUEST, "a bad request"),
    ]);
    server.exchange_messages(&key, 2).await;
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Three", "mesage": 1 });
    server.http.post("/v1/messages", &body).bearer(&key).send().await;

    let expected = [
        "rejoinder_charged_microdollars_total 30000",
        "rejoinder_refunded_microdollars_total 10000",
        r#"rejoinder_http_warnings_total{route="/v1/messages"} 1"#,
        r#"rejoinder_turns_open{state="waiting"} 0"#,
        r#"rejoinder_turns_open{state="queued"} 0"#,
        r#"rejoinder_turns_open{state="running"} 0"#,
        r#"rejoinder_oldest_open_turn_seconds{state="running"} 0"#,
        r#"rejoinder_store_connections_max{pool="write"} 1"#,
        r#"rejoinder_store_connections_max{pool="read"} 8"#,
        r#"rejoinder_store_connections_max{pool="control"} 3"#,
        r#"rejoinder_store_connections_max{pool="health"} 1"#,
        r#"rejoinder_store_connections{pool="write",state="idle"} "#,
        r#"rejoinder_store_connections{pool="read",state="used"} "#,
        r#"rejoinder_largest_workspace_share{resource="running_turns"} 0"#,
        r#"rejoinder_largest_workspace_share{resource="widget_requests"} 0"#,
        r#"rejoinder_largest_workspace_share{resource="event_followers"} 0"#,
        r#"rejoinder_largest_workspace_share{resource="deliveries"} 0"#,
        r#"rejoinder_largest_workspace_share{resource="read_connections"} 0"#,
    ];
    let measured = async || {
        let metrics = server.http.get("/metrics").send().await.text().to_owned();
        let is_there = |line: &&str| metrics.lines().any(|other| other.starts_with(line));
        expected.iter().all(is_there).then_some(())
    };
    wait_for("the metrics", measured).await;
}
