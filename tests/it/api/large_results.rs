//! Long results and replies: the calls of a reply are bounded, and the trace has the whole.

use serde_json::{Value, json};

use crate::support::db::{TestDb, both_backends};
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::http::Response;
use crate::support::server::{Setup, TestServer, WIDGET};

const KIB: usize = 1024;

/// A result of about 200 KiB.
fn large_result() -> Value {
    let row = |n: usize| json!({ "id": n, "text": "A long description of an order. ".repeat(10) });
    json!({ "rows": (0..600).map(row).collect::<Vec<_>>(), "total": 600 })
}

fn order(id: usize) -> ToolCall {
    ToolCall::new("get_order_status", &json!({ "order_id": id.to_string() }))
}

async fn history(server: &TestServer) -> Vec<Value> {
    let body = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await.json();
    body["history"].as_array().unwrap().clone()
}

/// A server whose tool may take its time: eight large results at once are slow on a busy machine.
async fn start(db: &TestDb) -> TestServer {
    let patient = |text: String| text.replace("timeout = \"1s\"", "timeout = \"30s\"");
    Setup::default().workspace(patient).start(db).await
}

/// The traced calls of the turn behind a response.
async fn traced_calls(server: &TestServer, response: &Response) -> Vec<Value> {
    let turn = response.header("rejoinder-turn").unwrap();
    let body = server.get(&format!("/v1/turns/{turn}")).await.json();
    let rounds = body["data"]["rounds"].as_array().unwrap();
    rounds.iter().flat_map(|round| round["calls"].as_array().unwrap().clone()).collect()
}

both_backends!(
    async fn a_reply_has_excerpts_of_long_results_and_its_trace_has_the_whole(db: TestDb) {
        let server = start(&db).await;
        let large = large_result();
        server.tool.script().queue([
            ToolReply::json(&large),
            ToolReply::json(&json!({ "status": "shipped" })),
            ToolReply::json(&large),
        ]);
        let rounds = [1, 2, 3].map(|id| Reply::tool_calls([order(id)]));
        server.model.script().queue(rounds.into_iter().chain([Reply::text("Done.")]));

        let response = server.post_message(WIDGET, "Where are my orders?").send().await;

        let calls = response.json()["function_calls"].clone();
        assert!(calls.to_string().len() <= 64 * KIB, "{} bytes", calls.to_string().len());
        assert!(calls.to_string().len() > 56 * KIB, "{} bytes", calls.to_string().len());
        assert_eq!(calls.as_array().unwrap().len(), 3);
        for (call, id) in calls.as_array().unwrap().iter().zip(["1", "2", "3"]) {
            let keys: Vec<_> = call.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["name", "arguments", "result"]);
            assert_eq!(
                (&call["name"], &call["arguments"]),
                (&json!("get_order_status"), &json!({ "order_id": id }))
            );
        }
        assert_eq!(calls[1]["result"], json!({ "status": "shipped" }), "a short result stays as it is");
        for nth in [0, 2] {
            let result = &calls[nth]["result"];
            let rows = result["rows"].as_array().unwrap();
            assert!(!rows.is_empty() && rows[..] == large["rows"].as_array().unwrap()[..rows.len()]);
            assert_eq!(result["total"], 600);
            assert_eq!(result["shortened_from_bytes"], large.to_string().len());
        }
        assert_eq!(history(&server).await.last().unwrap()["function_calls"], calls);
        let con = server.conversation_id(WIDGET).await;
        assert_eq!(server.messages(&con).await.last().unwrap()["function_calls"], calls);

        let traced = traced_calls(&server, &response).await;
        assert_eq!([&traced[0]["result"], &traced[2]["result"]], [&large, &large]);
        let seen = server.model.calls().all()[1].request.last_text("tool").unwrap();
        let seen: Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen, large, "the model reads the whole in its turn");
    }
);

both_backends!(
    async fn the_results_of_a_turn_are_bounded_together(db: TestDb) {
        let server = start(&db).await;
        let large = large_result();
        server.tool.script().respond_with(move |_| ToolReply::json(&large));
        let rounds = [0, 8, 16].map(|first| Reply::tool_calls((first..first + 8).map(order)));
        server.model.script().queue(rounds.into_iter().chain([Reply::text("Done.")]));

        let response = server.post_message(WIDGET, "Where are all my orders?").send().await;

        assert_eq!(response.status, 200, "{}", response.text());
        let traced = traced_calls(&server, &response).await;
        assert_eq!(traced.len(), 24);
        let sizes: Vec<usize> = traced.iter().map(|call| call["result"].to_string().len()).collect();
        let total: usize = sizes.iter().sum();
        assert!(total > 900 * KIB && total <= 1024 * KIB + 24 * 4 * KIB, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size > 3 * KIB), "each call has a result to read: {sizes:?}");
        let stored = server.query_number("select sum(octet_length(result)) from journal").await;
        assert_eq!(usize::try_from(stored).unwrap(), total);
    }
);

both_backends!(
    async fn a_very_long_reply_is_truncated(db: TestDb) {
        let server = start(&db).await;
        server.model.script().queue([Reply::text(&"x".repeat(300 * KIB))]);

        let response = server.post_message(WIDGET, "Tell me everything").send().await.json();

        assert_eq!(response["message"].as_str().unwrap().len(), 256 * KIB);
        let entry = history(&server).await.pop().unwrap();
        assert_eq!((&entry["content"], &entry["truncated"]), (&response["message"], &json!(true)));
    }
);
