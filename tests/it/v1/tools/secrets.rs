//! The secrets of a tool whose endpoint echoes its requests appear neither in model calls, transcripts and errors, nor in logs
//! and metrics.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderName, StatusCode, header};
use serde_json::json;

use super::{CANARY, tested, with_canary};
use crate::support::binary::Sandbox;
use crate::support::db::both_backends;
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::server::WIDGET;
use crate::support::workspaces::{QUERY_KEY, SIGNING, TOKEN, workspace};

/// All encodings of the secrets.
fn leaked(text: &str) -> Option<&'static str> {
    let parts =
        ["canary-t0ken", "canary/key", "canary%2Fkey", "canary%2fkey", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    assert!(TOKEN.contains(parts[0]) && QUERY_KEY.contains(parts[1]) && SIGNING.contains(parts[4]));
    parts.into_iter().find(|part| text.contains(part))
}

/// The whole request as text.
fn sent_secrets(request: &ToolRequest) -> String {
    format!(
        "{} {} {:?} {}",
        request.method,
        request.uri,
        request.headers,
        String::from_utf8_lossy(&request.body)
    )
}

/// Responses of every kind that contain the request.
fn echoes() -> Vec<fn(&ToolRequest) -> ToolReply> {
    vec![
        |request| ToolReply::json(&json!({ "echo": sent_secrets(request), "uri": request.uri.to_string() })),
        |request| ToolReply::status(StatusCode::OK).with_body(sent_secrets(request)),
        |request| ToolReply::status(StatusCode::BAD_REQUEST).with_body(sent_secrets(request)),
        |request| ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR).with_body(sent_secrets(request)),
        |request| {
            let uri = request.uri.to_string();
            ToolReply::status(StatusCode::FOUND)
                .with_header(header::LOCATION, &uri)
                .with_body(sent_secrets(request))
        },
        |request| {
            let uri = request.uri.to_string();
            let reply =
                ToolReply::status(StatusCode::OK).with_body(Bytes::from(sent_secrets(request).repeat(4096)));
            reply.with_header(HeaderName::from_static("x-echo"), &uri)
        },
        |request| {
            ToolReply::status(StatusCode::OK).with_body(sent_secrets(request)).after(Duration::from_secs(2))
        },
    ]
}

/// Scripts the endpoint to send each of the echoes in turn.
fn script(tool: &FakeTool) {
    let mut next = echoes().into_iter().cycle();
    tool.script().respond_with(move |request| next.next().unwrap()(request));
}

fn calling(model: &FakeModel) {
    model.script().respond_with(|request| {
        if request.messages().last().is_some_and(|last| last["role"] == "tool") {
            return Reply::text("Done.");
        }
        Reply::tool_calls([ToolCall::new("canary", &json!({ "id": "7" }))])
    });
}

both_backends!(
    async fn no_secret_reaches_the_model_or_the_transcript(db: TestDb) {
        let server = with_canary().start(&db).await;
        script(&server.tool);
        calling(&server.model);
        let con = server.conversation_id(WIDGET).await;

        for _ in echoes() {
            let answer = server.post_message(WIDGET, "Look it up").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(leaked(answer.text()), None, "{}", answer.text());
            let turn = answer.header("rejoinder-turn").unwrap().to_owned();
            let turn = server.get(&format!("/v1/turns/{turn}")).await;
            assert_eq!(leaked(turn.text()), None, "{}", turn.text());
        }
        for path in [format!("/v1/conversations/{con}/messages?limit=200"), "/v1/events?limit=200".to_owned()]
        {
            let response = server.get(&path).await;
            assert!(response.text().contains("canary"), "the calls are in {path}");
            assert_eq!(leaked(response.text()), None, "{}", response.text());
        }
        let history = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await;
        assert_eq!(leaked(history.text()), None, "{}", history.text());
        for call in server.model.calls().all() {
            let body = call.request.body.to_string();
            assert_eq!(leaked(&body), None, "{body}");
        }
        assert_eq!(server.tool.calls().all().len(), echoes().len());
        for call in server.tool.calls().all() {
            assert!(sent_secrets(&call.request).contains("canary%2Fkey%201"), "they were sent");
        }
        for (table, column) in
            [("tools", "definition"), ("assistant_versions", "compiled"), ("journal", "result")]
        {
            let found = format!("select count(*) from {table} where {column} like '%canary-t0ken%'");
            assert_eq!(server.query_number(&found).await, 0, "{table}");
        }
    }
);

both_backends!(
    async fn no_secret_is_in_a_test_call(db: TestDb) {
        let server = with_canary().start(&db).await;
        script(&server.tool);

        for _ in echoes() {
            let called = tested(
                &server,
                "canary",
                &json!({ "arguments": { "id": "7" }, "variables": { "company": "c" } }),
            )
            .await;
            assert!(called["request"].is_object(), "it was sent: {called}");
            assert_eq!(leaked(&called.to_string()), None, "{called}");
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_logs_or_metrics() {
    let (model, tool) = (FakeModel::start().await, FakeTool::start().await);
    script(&tool);
    calling(&model);
    let (base_url, host) = (model.base_url(), tool.host());
    let sandbox = Sandbox::new();
    let (server, log) = sandbox
        .start_server_with_trace_log(&[
            ("OPENAI_BASE_URL", &base_url),
            ("OPENAI_MODEL", "fake"),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &host),
        ])
        .await;
    let text = workspace(&tool).replace(r#""orders", "notes"]"#, r#""orders", "notes", "canary"]"#);
    // The demo workspace already has this slug and this assistant.
    let text = text.replace("slug = \"demo\"", "slug = \"mine\"");
    let text = text.split("[[conversations]]").next().unwrap().replace("550e8400", "550e8401");
    let text = format!("{text}\n{}", CANARY.replace("@URL@", &tool.url("")));
    let env = [
        ("TOKEN", TOKEN),
        ("QUERY_KEY", QUERY_KEY),
        ("SIGNING", SIGNING),
        ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &host),
    ];
    let (key, _) = sandbox.apply_workspace("mine", &text, &env);

    server.exchange_messages(&key, echoes().len()).await;

    assert_eq!(tool.calls().all().len(), echoes().len());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        log.lines().any(|line| line.contains("a webhook tool got no answer")),
        "the log says what failed"
    );
    let line = log.lines().find(|line| leaked(line).is_some());
    assert_eq!(line, None);
    let metrics = server.http.get("/metrics").send().await;
    assert!(metrics.text().contains("rejoinder_tool_call_duration_seconds"), "{}", metrics.text());
    assert_eq!(leaked(metrics.text()), None);
}
