//! Tools: listed, read, tested and refreshed.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::list::{Cursor, InvalidQuery, PageParams, PageQuery};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, KnowledgeBaseId, ToolId};
use crate::domain::render::Success;
use crate::domain::schema::ToolKind;
use crate::domain::tool::NamedTool;
use crate::domain::tool::{HeaderText, Headers, McpListing, McpServer, WebhookTool};
use crate::http::describe::{NotFound, error_sets};
use crate::http::extract::{ConfigWrite, Input, NoInput, OptionalInput, PathParam, QueryParams, Read};
use crate::http::fields::{FreeObject, Name, request};
use crate::http::response::{Page, millis};
use crate::http::state::AppState;
use crate::service::tools::refresh::RefreshResult;
use crate::service::tools::test_call::{TestCallRequest, TestCallResult};
use crate::service::{resources, tools};

type ToolCursor = Cursor<ToolId, 't'>;

request! {
    /// A test call of a tool.
    pub(super) struct TestCallIn as TestCall {
        /// The arguments as the model would give them; none by default.
        arguments: Option<FreeObject<{ usize::MAX }>> = {"order_id": "A7"},
        /// Values for `{{name}}`, as if a key had set them on the conversation.
        variables: Option<FreeObject<{ usize::MAX }>>,
        /// The tool to call, of an MCP server with several.
        name: Option<Name>,
    }
}

error_sets! {
    /// Test calls and refreshes share a limit of concurrent calls.
    TooManyTestCalls {
        "Too many tools are being tested; see Retry-After" => Error::Overloaded {
            text: "Too many tools are being tested",
            retry_after: Duration::from_secs(5),
        },
    }

    /// A tool that cannot be called, or of which one has to be named.
    TestRefused {
        "The tool changes a calendar, or it has several functions and `name` is none of them" => Error::Conflict(
            "Field 'name' is required: which of find_customer, find_order?".to_owned(),
        ),
    }

    /// The tools of a server cannot be refreshed.
    RefreshFailed {
        "The tool has no MCP server, the server cannot be reached, its list cannot be used, or the tool was changed meanwhile" => Error::Conflict(
            "The MCP server of the tool 'crm' cannot be used: it cannot be listed: no connection. Please retry.".to_owned(),
        ),
    }
}

/// List tools.
///
/// The oldest comes first.
#[utoipa::path(
    get, path = "/tools", tag = "platform", operation_id = "listTools",
    security(("bearer" = ["read"])), params(PageParams::<ToolCursor>),
    responses((status = 200, description = "A page", body = Success<Page<ToolSummaryOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<ToolSummaryOut>> {
    let (tools, next) = ToolCursor::read_page::<NamedTool>(&state.services, &account, &query).await?;
    Ok(Success::new("Tools retrieved successfully.", Page::new(&tools, next)))
}

/// Read a tool.
///
/// The response has no secrets.
#[utoipa::path(
    get, path = "/tools/{id}", tag = "platform", operation_id = "readTool",
    security(("bearer" = ["read"])), params(("id" = inline(ToolId), Path, description = "tool_…")),
    responses((status = 200, description = "The tool", body = Success<ToolOut>), ReadErrors<NotFound<ToolId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Answer<ToolOut> {
    let tool = resources::find::<NamedTool>(&state.services, &account, &name).await?;
    Ok(Success::new("Tool retrieved successfully.", ToolOut::from(tool)))
}

/// Test a tool.
///
/// Makes one real call, as a reply would. Tools that book or cancel are refused.
#[utoipa::path(
    post, path = "/tools/{id}/test", tag = "platform", operation_id = "testTool",
    security(("bearer" = ["config"])), params(("id" = inline(ToolId), Path, description = "tool_…")),
    request_body = Option<TestCallIn>,
    responses((status = 200, description = "The result, which may be a failure", body = Success<TestCallOut>), ConfigErrors<(Input<TestCallIn>, TestRefused, TooManyTestCalls, NotFound<ToolId>)>),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    OptionalInput(input): OptionalInput<TestCallIn>,
) -> Answer<TestCallOut> {
    let request = TestCallRequest {
        arguments: input.arguments.unwrap_or_default(),
        variables: input.variables.unwrap_or_default(),
        name: input.name,
    };
    let tested = tools::test_call::call(&state.services, &account, &name, request).await?;
    Ok(Success::new("Tool called.", TestCallOut::from(tested)))
}

/// Refresh an MCP server's tools.
///
/// Assistants use the new list from the next message.
#[utoipa::path(
    post, path = "/tools/{id}/refresh", tag = "platform", operation_id = "refreshTool",
    security(("bearer" = ["config"])), params(("id" = inline(ToolId), Path, description = "tool_…")),
    responses((status = 200, description = "The tool after the change", body = Success<RefreshedToolOut>), ConfigErrors<(NoInput, RefreshFailed, TooManyTestCalls, NotFound<ToolId>)>),
)]
pub(super) async fn refresh(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<RefreshedToolOut> {
    let refreshed = tools::refresh::refresh(&state.services, &account, &name).await?;
    Ok(Success::new("Tool refreshed successfully.", RefreshedToolOut::from(refreshed)))
}

/// A summary of a tool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolSummary)]
pub(super) struct ToolSummaryOut {
    id: ToolId,
    /// Its short name, by which assistants refer to it.
    #[schema(example = "orders")]
    slug: String,
    /// The name that the model calls it by.
    #[schema(example = "get_order_status")]
    name: String,
    /// `calendar_availability`, `calendar_booking`, `calendar_cancel`, `knowledge`, `webhook` or `mcp`.
    #[schema(value_type = ToolKind)]
    kind: &'static str,
    #[schema(example = "Returns the status of an order.")]
    description: String,
    /// What the widget shows while it is called, if it has a text of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Looking up your order")]
    label: Option<String>,
    /// Whether a workspace file manages it; if so, it can only be changed there.
    #[schema(example = false)]
    from_file: bool,
}

impl From<&NamedTool> for ToolSummaryOut {
    fn from(named: &NamedTool) -> Self {
        Self {
            id: named.id,
            slug: named.slug.clone(),
            name: named.tool.spec.name.clone(),
            kind: named.tool.config.as_str(),
            description: named.tool.spec.description.clone(),
            label: named.tool.label.clone(),
            from_file: named.from_file,
        }
    }
}

/// A tool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tool)]
pub(super) struct ToolOut {
    #[serde(flatten)]
    #[schema(inline)]
    tool: ToolSummaryOut,
    /// The JSON Schema of its arguments.
    #[schema(value_type = Object, example = json!({"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}))]
    parameters: Value,
    /// Only calendar tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar_id: Option<CalendarId>,
    /// Only knowledge tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    knowledge_base_id: Option<KnowledgeBaseId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<McpOut>,
}

impl From<NamedTool> for ToolOut {
    fn from(named: NamedTool) -> Self {
        let config = &named.tool.config;
        Self {
            tool: ToolSummaryOut::from(&named),
            parameters: named.tool.spec.parameters.clone(),
            calendar_id: config.calendar().copied(),
            knowledge_base_id: config.knowledge_base().copied(),
            webhook: config.webhook().map(WebhookOut::from),
            mcp: config.mcp().zip(named.tool.listing.as_ref()).map(McpOut::from),
        }
    }
}

/// The endpoint that a webhook tool calls. Values that the tool adds itself are not shown, only their names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolWebhook, example = json!({
    "method": "GET", "url": "https://shop.example/orders/{order_id}",
    "headers": [{"name": "authorization", "secret": true}], "form": false, "static": [], "secrets": ["shop_token"],
    "signed": false, "timeout_ms": 10000, "idempotent": true
}))]
pub(super) struct WebhookOut {
    #[schema(example = "GET")]
    method: String,
    /// With its placeholders.
    #[schema(example = "https://shop.example/orders/{order_id}")]
    url: String,
    headers: Vec<ToolHeaderOut>,
    /// The template of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Whether the body is a form.
    form: bool,
    /// Names of the fields that are sent in addition to the arguments.
    #[serde(rename = "static")]
    static_fields: Vec<String>,
    /// Names of the secrets that `{{name}}` may use.
    secrets: Vec<String>,
    /// Whether requests are signed.
    signed: bool,
    timeout_ms: u64,
    idempotent: bool,
}

impl From<&WebhookTool> for WebhookOut {
    fn from(tool: &WebhookTool) -> Self {
        Self {
            method: tool.method.clone(),
            url: tool.url.clone(),
            headers: headers_out(&tool.headers),
            body: tool.body.clone(),
            form: tool.form,
            static_fields: tool.static_fields.keys().cloned().collect(),
            secrets: tool.secrets.keys().cloned().collect(),
            signed: tool.secret.is_some(),
            timeout_ms: millis(tool.timeout),
            idempotent: tool.idempotent,
        }
    }
}

/// A Model Context Protocol server with its tools.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolMcp)]
pub(super) struct McpOut {
    #[schema(example = "https://crm.example/mcp")]
    url: String,
    headers: Vec<ToolHeaderOut>,
    timeout_ms: u64,
    /// Names of the allowed tools; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
    /// Names of allowed tools that the server does not have.
    #[schema(example = json!([]))]
    missing: Vec<String>,
    /// The tools that assistants can use.
    tools: Vec<McpToolOut>,
    /// The time since which the list has not changed.
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    listed_since: String,
}

impl From<(&McpServer, &McpListing)> for McpOut {
    fn from((server, listing): (&McpServer, &McpListing)) -> Self {
        Self {
            missing: listing.missing(server.allow.as_deref()).map(str::to_owned).collect(),
            url: server.url.clone(),
            headers: headers_out(&server.headers),
            timeout_ms: millis(server.timeout),
            allow: server.allow.clone(),
            tools: listing.tools.iter().cloned().map(McpToolOut::from).collect(),
            listed_since: Micros::from(listing.listed_since).to_string(),
        }
    }
}

/// A tool that an MCP server listed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = McpTool)]
pub(super) struct McpToolOut {
    #[schema(example = "find_customer")]
    name: String,
    #[schema(example = "Finds a customer by email.")]
    description: String,
    #[schema(value_type = Object)]
    parameters: Value,
}

impl From<ToolSpec> for McpToolOut {
    fn from(found: ToolSpec) -> Self {
        Self { name: found.name, description: found.description, parameters: found.parameters }
    }
}

/// The result of refreshing the tools of an MCP server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefreshedTool)]
pub(super) struct RefreshedToolOut {
    tool: ToolOut,
    /// Whether the list changed; if so, assistants have new versions.
    changed: bool,
    /// Tools that were left out, with the reasons.
    #[schema(example = json!([]))]
    warnings: Vec<String>,
}

impl From<RefreshResult> for RefreshedToolOut {
    fn from(refreshed: RefreshResult) -> Self {
        Self { tool: refreshed.tool.into(), changed: refreshed.changed, warnings: refreshed.warnings }
    }
}

/// A header that a tool sends.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolHeader)]
pub(super) struct ToolHeaderOut {
    #[schema(example = "authorization")]
    name: String,
    /// Whether its value is a secret.
    secret: bool,
}

fn headers_out(headers: &Headers) -> Vec<ToolHeaderOut> {
    let header = |(name, text): (&String, &HeaderText)| ToolHeaderOut {
        name: name.clone(),
        secret: text.secret().is_some(),
    };
    headers.iter().map(header).collect()
}

/// The result of a test call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestCallResult)]
pub(super) struct TestCallOut {
    /// The result that the model would see; `{"error": …}` for a failure. For a CalDAV calendar that cannot be read the error
    /// names the cause; the model gets a general sentence.
    #[schema(value_type = Object, example = json!({"status": "shipped"}))]
    result: Map<String, Value>,
    #[schema(example = 120)]
    duration_ms: u64,
    /// The request of a webhook tool with its secrets masked. Absent if none was made, such as for invalid arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<SentRequestOut>,
    /// The response to a webhook tool with its secrets masked. Absent if none arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ReceivedResponseOut>,
}

impl From<TestCallResult> for TestCallOut {
    fn from(tested: TestCallResult) -> Self {
        let (request, response) =
            tested.exchange.map_or((None, None), |exchange| (exchange.request, exchange.response));
        Self {
            result: tested.result.fields().clone(),
            duration_ms: millis(tested.duration),
            request: request.map(|request| SentRequestOut {
                method: request.method,
                url: request.url,
                headers: request
                    .headers
                    .into_iter()
                    .map(|(name, value)| SentHeaderOut { name, value })
                    .collect(),
                body: request.body,
            }),
            response: response.map(|response| ReceivedResponseOut {
                status: response.status,
                content_type: response.content_type,
                body: response.body,
            }),
        }
    }
}

/// A request that was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SentRequest)]
pub(super) struct SentRequestOut {
    #[schema(example = "GET")]
    method: String,
    #[schema(example = "https://shop.example/orders/7")]
    url: String,
    headers: Vec<SentHeaderOut>,
    /// The beginning of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// A header that was sent; `***` for a secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SentHeader)]
pub(super) struct SentHeaderOut {
    #[schema(example = "authorization")]
    name: String,
    #[schema(example = "***")]
    value: String,
}

/// A response that was received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReceivedResponse)]
pub(super) struct ReceivedResponseOut {
    #[schema(example = 200)]
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "application/json")]
    content_type: Option<String>,
    /// The beginning of the body; absent if it was too large to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "{\"status\": \"shipped\"}")]
    body: Option<String>,
}
