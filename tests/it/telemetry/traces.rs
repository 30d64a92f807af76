//! The traces of a server process, as a collector receives them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::json;

use crate::support::binary::{Sandbox, ServerProcess};
use crate::support::fake_embeddings::FakeEmbeddings;
use crate::support::fake_model::{FakeModel, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};
use crate::support::receiver::{header, start_stalling_server};
use crate::support::wait::wait_for;

const TOKEN: &str = "Bearer canary-t0ken";
const CONVERSATION: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae8";
/// The trace and the span of the client, from the examples of the W3C recommendation.
const CLIENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

const PROMPT: &str = "Where is my parcel?";
const REPLY: &str = "It is on its way.";
const RESULT: &str = "in transit";
const INSTRUCTIONS: &str = "You are very polite.";

const WORKSPACE: &str = r#"
    [workspace]
    slug = "mine"
    name = "Mine"
    balance = "1.00"
    default_assistant = "desk"
    [[assistants]]
    slug = "desk"
    name = "Desk"
    system_prompt = "You are very polite."
    tools = ["orders"]
    [[tools]]
    slug = "orders"
    kind = "webhook"
    name = "get_order"
    description = "Looks up an order"
    method = "GET"
    url = "@TOOL@/orders/{id}"
    headers = { authorization = { env = "TOKEN" } }
    parameters = { type = "object", properties = { id = { type = "string" } }, required = ["id"] }
    [[webhook_endpoints]]
    slug = "crm"
    url = "@TOOL@/hooks/s3cret-path"
    types = ["message.created"]
    [[conversations]]
    widget_uuid = "7c9e6679-7425-40de-944b-e07fc1f90ae8"
    assistant = "desk"
    type = "widget"
"#;

/// A server with one workspace, its model and its tool, which calls back with all that it was sent.
struct Deployment {
    sandbox: Sandbox,
    model: FakeModel,
    tool: FakeTool,
}

impl Deployment {
    async fn new() -> Self {
        let (model, tool) = (FakeModel::start().await, FakeTool::start().await);
        model.script().respond_with(|request| {
            if request.messages().last().is_some_and(|last| last["role"] == "tool") {
                return Reply::text(REPLY);
            }
            Reply::tool_calls([ToolCall::new("get_order", &json!({ "id": "A-4711" })).with_id("call_1")])
        });
        tool.script().respond_with(|request: &ToolRequest| {
            ToolReply::json(&json!({ "state": RESULT, "sent": format!("{:?}", request.headers) }))
        });
        Self { sandbox: Sandbox::new(), model, tool }
    }

    /// Starts the server with further variables, and returns the path of its log and a key of the workspace.
    async fn start(&self, env: &[(&str, &str)]) -> (ServerProcess, PathBuf, String) {
        let (base_url, host) = (self.model.base_url(), self.tool.host());
        let mut variables = vec![
            ("OPENAI_BASE_URL", base_url.as_str()),
            ("OPENAI_MODEL", "fake"),
            ("OPENAI_API_KEY", "sk-operators-key"),
            ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &host),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ];
        variables.extend(env);
        let (server, log) = self.sandbox.start_server_with_trace_log(&variables).await;
        let text = WORKSPACE.replace("@TOOL@", &self.tool.url(""));
        let env = [("TOKEN", TOKEN), ("REJOINDER_OUTBOUND__ALLOW_HOSTS", &host)];
        let (key, _) = self.sandbox.apply_workspace("mine", &text, &env);
        (server, log, key)
    }
}

/// Sends a message to the widget conversation, and checks the reply.
async fn exchange(server: &ServerProcess) {
    let path = format!("/api/conversations/{CONVERSATION}/messages");
    let sent = server.http.post(&path, &json!({ "message": PROMPT }));
    let sent = sent.header("traceparent", &format!("00-{CLIENT_TRACE}-{CLIENT_SPAN}-01")).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(sent.json()["message"], REPLY);
}

/// What a collector received.
struct Exported {
    spans: Vec<Span>,
    resource: Vec<KeyValue>,
    bytes: Vec<u8>,
}

impl Exported {
    fn of(collector: &FakeTool) -> Self {
        let mut exported = Self { spans: Vec::new(), resource: Vec::new(), bytes: Vec::new() };
        for call in collector.calls().all() {
            assert_eq!(call.request.uri.path(), "/v1/traces");
            assert_eq!(header(&call.request, "content-type"), "application/x-protobuf");
            assert_eq!(header(&call.request, "x-tenant"), "a");
            exported.bytes.extend_from_slice(&call.request.body);
            let request = ExportTraceServiceRequest::decode(call.request.body).expect("OTLP");
            for spans in request.resource_spans {
                exported.resource = spans.resource.expect("a resource").attributes;
                exported.spans.extend(spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        exported
    }

    fn named(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    fn single(&self, name: &str) -> &Span {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name} in {:?}", self.names());
        found[0]
    }

    fn names(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name.as_str()).collect()
    }

    fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn text_of(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::ArrayValue(items)) => {
            let items: Vec<_> = items.values.iter().map(|item| text_of(Some(item))).collect();
            format!("[{}]", items.join(","))
        }
        other => format!("{other:?}"),
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    text_of(attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.as_ref()))
}

#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(attribute(&span.attributes, key), *value, "{key} of {}", span.name);
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Exchanges a message with a collector beside, and returns what that receives.
async fn exported(deployment: &Deployment, env: &[(&str, &str)]) -> Exported {
    let collector = FakeTool::start().await;
    let endpoint = collector.url("");
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a"),
    ];
    variables.extend(env);
    let (server, ..) = deployment.start(&variables).await;
    exchange(&server).await;
    let all = async || {
        let names = Exported::of(&collector);
        let has = |name| !names.named(name).is_empty();
        (has("POST /api/conversations/{uuid}/messages") && names.named("deliver_webhook").len() == 2)
            .then_some(())
    };
    wait_for("the spans", all).await;
    assert!(server.terminate().await.success());
    Exported::of(&collector)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_widget_turn_with_a_tool_call_is_one_trace_without_content() {
    let deployment = Deployment::new().await;

    let exported = exported(&deployment, &[]).await;

    let request = exported.single("POST /api/conversations/{uuid}/messages");
    let turn = exported.single("invoke_agent Desk");
    let chats = exported.named("chat fake");
    let tool = exported.single("execute_tool get_order");
    assert_eq!(hex(&request.parent_span_id), CLIENT_SPAN);
    assert_eq!(turn.parent_span_id, request.span_id);
    assert_eq!(chats.len(), 2);
    for span in [chats[0], chats[1], tool] {
        assert_eq!(span.parent_span_id, turn.span_id, "{}", span.name);
    }
    for span in [request, turn, chats[0], chats[1], tool] {
        assert_eq!(hex(&span.trace_id), CLIENT_TRACE, "{}", span.name);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    let kinds = [request, turn, chats[0], tool].map(Span::kind);
    assert_eq!(kinds, [SpanKind::Server, SpanKind::Internal, SpanKind::Client, SpanKind::Internal]);

    assert_attributes(
        request,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/api/conversations/{uuid}/messages"),
            ("http.response.status_code", "200"),
        ],
    );
    assert_attributes(
        turn,
        &[
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.agent.name", "Desk"),
            ("rejoinder.api", "widget"),
        ],
    );
    assert!(attribute(&turn.attributes, "gen_ai.conversation.id").starts_with("con_"));
    let port = deployment.model.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").to_owned();
    for (chat, reason) in chats.iter().zip(["[tool_calls]", "[stop]"]) {
        assert_attributes(
            chat,
            &[
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.provider.name", "openai"),
                ("gen_ai.request.model", "fake"),
                ("gen_ai.response.model", "fake"),
                ("gen_ai.response.finish_reasons", reason),
                ("server.address", "127.0.0.1"),
                ("server.port", &port),
            ],
        );
        let tokens = |key| attribute(&chat.attributes, key).parse::<i64>().unwrap();
        assert!(tokens("gen_ai.usage.input_tokens") > 0 && tokens("gen_ai.usage.output_tokens") > 0);
    }
    assert_attributes(
        tool,
        &[
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "get_order"),
            ("rejoinder.tool.kind", "webhook"),
        ],
    );
    assert!(!attribute(&tool.attributes, "gen_ai.tool.call.id").is_empty());
    for delivery in exported.named("deliver_webhook") {
        assert_attributes(delivery, &[("http.response.status_code", "200"), ("server.address", "127.0.0.1")]);
    }
    assert_eq!(attribute(&exported.resource, "service.name"), "rejoinder");
    assert_eq!(attribute(&exported.resource, "deployment.environment.name"), "test");

    for text in
        [PROMPT, REPLY, RESULT, INSTRUCTIONS, "A-4711", "canary-t0ken", "operators-key", "s3cret-path"]
    {
        assert!(!exported.contains(text), "{text}");
    }
    assert!(!exported.contains(CONVERSATION), "the UUID grants access to the conversation");
    for path in ["/readyz", "/metrics"] {
        assert!(!exported.contains(path), "{path}");
    }
    let tenants = deployment.tool.calls().all().into_iter().map(|call| call.request.headers);
    let models = deployment.model.calls().all().into_iter().map(|call| call.request.headers);
    for headers in tenants.chain(models) {
        assert!(!headers.contains_key("traceparent"), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_no_request_waits_for_is_a_trace_of_its_own_with_a_link_to_its_request() {
    let deployment = Deployment::new().await;
    let (collector, embeddings) = (FakeTool::start().await, FakeEmbeddings::start().await);
    let (endpoint, embeddings_url) = (collector.url(""), embeddings.base_url());
    let (server, _, key) = deployment
        .start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a"),
            ("REJOINDER_EMBEDDINGS__BASE_URL", &embeddings_url),
            ("REJOINDER_EMBEDDINGS__MODEL", "fake-vectors"),
        ])
        .await;

    let base = json!({ "name": "Help", "slug": "help" });
    let created = server.http.post("/v1/knowledge_bases", &base).bearer(&key).send().await;
    assert_eq!(created.status, 200, "{}", created.text());
    let document = json!({ "title": "Returns", "text": "Within 30 days." });
    let path = format!("/v1/knowledge_bases/{}/documents", created.json()["data"]["id"].as_str().unwrap());
    let created = server.http.post(&path, &document).bearer(&key).send().await;
    assert_eq!(created.status, 200, "{}", created.text());
    server.exchange_messages(&key, 1).await;
    let exported = wait_for("the spans", async || {
        let exported = Exported::of(&collector);
        let names = ["invoke_agent Desk", "POST /v1/messages", "embeddings fake-vectors"];
        names.iter().all(|name| !exported.named(name).is_empty()).then_some(exported)
    })
    .await;

    let (request, turn) = (exported.single("POST /v1/messages"), exported.single("invoke_agent Desk"));
    assert_ne!(turn.trace_id, request.trace_id);
    assert!(turn.parent_span_id.is_empty());
    let links: Vec<_> = turn.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
    assert_eq!(links, [(&request.trace_id, &request.span_id)]);
    assert_attributes(turn, &[("rejoinder.api", "platform")]);
    for span in exported.named("embeddings fake-vectors") {
        assert_eq!(span.kind(), SpanKind::Client);
        assert_attributes(
            span,
            &[
                ("gen_ai.operation.name", "embeddings"),
                ("gen_ai.request.model", "fake-vectors"),
                ("server.address", "127.0.0.1"),
            ],
        );
    }
    assert!(!exported.contains("Within 30 days"));
    for call in embeddings.calls().all() {
        assert!(!call.request.headers.contains_key("traceparent"), "{:?}", call.request.headers);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_was_asked_for_is_masked() {
    let deployment = Deployment::new().await;
    let service = ("OTEL_SERVICE_NAME", "support");

    let exported = exported(&deployment, &[("REJOINDER_TELEMETRY__CAPTURE_CONTENT", "true"), service]).await;

    let tool = exported.single("execute_tool get_order");
    assert_attributes(tool, &[("gen_ai.tool.call.arguments", r#"{"id":"A-4711"}"#)]);
    let result = attribute(&tool.attributes, "gen_ai.tool.call.result");
    assert!(result.contains(RESULT) && result.contains("***"), "{result}");
    let last = exported.named("chat fake")[1];
    let json = |key| serde_json::from_str::<serde_json::Value>(&attribute(&last.attributes, key)).unwrap();
    let instructions = json("gen_ai.system_instructions");
    assert!(instructions[0]["content"].as_str().unwrap().starts_with(INSTRUCTIONS), "{instructions}");
    let input = json("gen_ai.input.messages");
    let roles: Vec<_> = input.as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(input[0]["parts"], json!([{ "type": "text", "content": PROMPT }]));
    assert_eq!(input[1]["parts"][0]["type"], "tool_call");
    let output = json("gen_ai.output.messages");
    assert_eq!(output[0]["parts"], json!([{ "type": "text", "content": REPLY }]));
    assert_eq!(output[0]["finish_reason"], "stop");
    assert_eq!(attribute(&exported.resource, "service.name"), "support");
    for secret in ["canary-t0ken", "operators-key"] {
        assert!(!exported.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_delays_neither_replies_nor_the_end() {
    let deployment = Deployment::new().await;
    let collector = start_stalling_server().await;
    let (server, log, _) = deployment
        .start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector), ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")])
        .await;

    let begun = Instant::now();
    for _ in 0..3 {
        exchange(&server).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(server.terminate().await.success());

    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_cannot_be_reached_is_logged_once() {
    let deployment = Deployment::new().await;
    // A port that nothing listens on.
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{collector}/v1/traces");
    let (server, log, _) = deployment.start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint)]).await;

    for _ in 0..3 {
        exchange(&server).await;
    }

    let warnings = || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.contains("spans cannot be exported")).count()
    };
    wait_for("a warning", async || (warnings() > 0).then_some(())).await;
    assert!(server.terminate().await.success());
    assert_eq!(warnings(), 1);
}
