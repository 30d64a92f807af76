//! A tool's secrets, with an endpoint that gives away all that it is sent: they reach neither the model, nor whoever
//! reads the transcript, nor logs, metrics and errors.

use std::process::Stdio;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::{CANARY, tested, with_canary};
use crate::support::binary::Sandbox;
use crate::support::db::both_backends;
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::server::WIDGET;
use crate::support::wait::wait_for;
use crate::support::workspaces::{QUERY_KEY, SIGNING, TOKEN, workspace};

/// Whatever spelling of a secret must be nowhere.
fn leaked(text: &str) -> Option<&'static str> {
    let parts =
        ["canary-t0ken", "canary/key", "canary%2Fkey", "canary%2fkey", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    assert!(TOKEN.contains(parts[0]) && QUERY_KEY.contains(parts[1]) && SIGNING.contains(parts[4]));
    parts.into_iter().find(|part| text.contains(part))
}

/// All of a request in one text.
fn sent_secrets(request: &ToolRequest) -> String {
    format!(
        "{} {} {:?} {}",
        request.method,
        request.uri,
        request.headers,
        String::from_utf8_lossy(&request.body)
    )
}

/// Answers of every kind that hold the request.
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

/// The endpoint gives each of the echoes in turn.
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
    let sandbox = Sandbox::new();
    let log = sandbox.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let server = sandbox
        .start_server_with(|command| {
            command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_MODEL", "fake");
            command.env("REJOINDER_OUTBOUND__ALLOW_HOSTS", tool.host());
            command.env("RUST_LOG", "trace").env("REJOINDER_LOG__FORMAT", "json");
            command.stderr(Stdio::from(file))
        })
        .await;
    let text = workspace(&tool).replace(r#""orders", "notes"]"#, r#""orders", "notes", "canary"]"#);
    // The demo has the fixed conversation already.
    let text = text.replace("slug = \"demo\"", "slug = \"mine\"");
    let text = text.split("[[conversations]]").next().unwrap().replace("550e8400", "550e8401");
    let text = format!("{text}\n{}", CANARY.replace("@URL@", &tool.url("")));
    std::fs::write(sandbox.path().join("mine.toml"), text).unwrap();
    let mut apply = sandbox.command(&["apply", "mine.toml"]);
    apply.env("TOKEN", TOKEN).env("QUERY_KEY", QUERY_KEY).env("SIGNING", SIGNING);
    apply.env("REJOINDER_OUTBOUND__ALLOW_HOSTS", tool.host());
    let applied = apply.output().unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let key = sandbox.run(&["keys", "create", "--workspace", "mine", "--name", "t", "--json"]);
    let key: Value = serde_json::from_str(&key.out).unwrap();
    let key = key["key"].as_str().unwrap_or_else(|| panic!("{key}"));

    for _ in echoes() {
        let body = json!({ "sender_id": "u", "sender_type": "user", "text": "Look it up" });
        let sent = server.http.post("/v1/messages", &body).bearer(key).send().await;
        assert_eq!(sent.status, 200, "{}", sent.text());
    }
    let replied = async || {
        let events = server.http.get("/v1/events?types=message.created&limit=200").bearer(key).send().await;
        let items = events.json()["data"]["items"].as_array().unwrap().clone();
        let replies = items.iter().filter(|event| event["data"]["message"]["sender_type"] == "assistant");
        (replies.count() == echoes().len()).then_some(())
    };
    wait_for("all replies", replied).await;

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
