//! The fake endpoint records each call, and the client each response, unchanged.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::json;

use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::http::{Http, send_raw};
use crate::support::script::Gate;

#[tokio::test]
async fn a_call_is_recorded_and_answered_by_the_script() {
    let tool = FakeTool::start().await;
    tool.script()
        .respond_with(|request: &ToolRequest| ToolReply::json(&json!({ "path": request.uri.path() })));
    tool.script().queue([ToolReply::status(StatusCode::FOUND)
        .with_header(header::LOCATION, "/elsewhere")
        .with_body("moved")]);
    let http = Http::new(tool.url("/orders"));

    let moved =
        http.post("/7?full=1", &json!({ "note": "hm" })).bearer("key").header("x-own", "yes").send().await;
    let scripted = http.get("/8").send().await;

    assert_eq!((moved.status, moved.text(), moved.header("location")), (302, "moved", Some("/elsewhere")));
    assert_eq!(scripted.json(), json!({ "path": "/orders/8" }));
    let calls = tool.calls().all();
    assert_eq!(calls[0].request.method, Method::POST);
    assert_eq!(calls[0].request.uri, "/orders/7?full=1");
    assert_eq!(calls[0].request.headers["authorization"], "Bearer key");
    assert_eq!(calls[0].request.headers["x-own"], "yes");
    assert_eq!(calls[0].request.json(), json!({ "note": "hm" }));
}

#[tokio::test]
async fn an_endpoint_hangs_until_its_gate_opens() {
    let tool = FakeTool::start().await;
    let gate = Gate::closed();
    tool.script().queue([ToolReply::status(StatusCode::OK).after(Duration::from_millis(5)).gated_by(&gate)]);
    let http = Http::new(tool.url(""));

    let opened = async {
        assert!(tool.calls().wait_for_count(1).await[0].ended.is_none());
        gate.open();
    };
    let (answer, ()) = tokio::join!(http.get("/").send(), opened);

    assert_eq!(answer.status, 200);
    assert!(tool.calls().all()[0].ended.is_some());
}

#[tokio::test]
async fn calls_that_are_not_recorded_are_answered_and_counted() {
    let tool = FakeTool::start().await;
    let http = Http::new(tool.url(""));
    assert_eq!(http.get("/1").send().await.status, 200);
    tool.calls().stop_recording();

    assert_eq!(http.get("/2").send().await.status, 200);

    assert_eq!(tool.calls().wait_for_count(2).await.len(), 1);
}

#[tokio::test]
async fn bytes_are_sent_as_they_are() {
    let tool = FakeTool::start().await;
    let address = tool.host().parse().unwrap();

    let answered = send_raw(address, b"BREW /pot HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let malformed = send_raw(address, b"no request at all\r\n\r\n").await;

    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(tool.calls().all()[0].request.method, "BREW");
    assert!(malformed.starts_with("HTTP/1.1 400 "), "{malformed}");
}
