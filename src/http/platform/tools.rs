//! Tools: listed, read, tested and refreshed.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::list::{Cursor, InvalidQuery, PageParams, PageQuery};
use super::{Answer, ConfigErrors, ReadErrors};
use crate::domain::audit_fields::REDACTED;
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, KnowledgeBaseId, ToolId};
use crate::domain::render::Success;
use crate::domain::schema::ToolKind;
use crate::domain::tool::{HeaderText, Headers, McpListing, McpServer, NamedTool, WebhookTool};
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
/// It has the fields that it was written with; `***` stands for each secret, header and static field.
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

/// A tool, with the fields that its kind is written with. `***` stands for each value that is not shown: secrets, headers and static
/// fields.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tool)]
pub(super) struct ToolOut {
    #[serde(flatten)]
    #[schema(inline)]
    tool: ToolSummaryOut,
    /// The JSON Schema of its arguments.
    #[schema(value_type = Object, example = json!({"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}))]
    parameters: Value,
    /// The id of the calendar. Only calendar tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<CalendarId>,
    /// The id of the knowledge base. Only knowledge tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    knowledge_base: Option<KnowledgeBaseId>,
    /// Only webhook tools and MCP servers have it. That of a webhook tool may contain placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://shop.example/orders/{order_id}")]
    url: Option<String>,
    /// Only webhook tools and MCP servers have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!({"authorization": {"secret": "***"}, "x-shop": "***"}))]
    headers: Option<BTreeMap<String, ToolHeaderOut>>,
    /// For the whole call. Only webhook tools and MCP servers have it.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional::serialize"
    )]
    #[schema(value_type = Option<String>, example = "10s")]
    timeout: Option<Duration>,
    #[serde(flatten)]
    #[schema(inline)]
    webhook: WebhookOut,
    /// Names of the allowed tools; absent: all. Only MCP servers have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["find_customer"]))]
    allow: Option<Vec<String>>,
    /// The tools of an MCP server; other kinds have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    listing: Option<ListingOut>,
}

impl From<NamedTool> for ToolOut {
    fn from(named: NamedTool) -> Self {
        let config = &named.tool.config;
        let (webhook, mcp) = (config.webhook(), config.mcp());
        Self {
            tool: ToolSummaryOut::from(&named),
            parameters: named.tool.spec.parameters.clone(),
            calendar: config.calendar().copied(),
            knowledge_base: config.knowledge_base().copied(),
            url: config.url().map(str::to_owned),
            headers: config.headers().map(headers_out),
            timeout: webhook.map(|webhook| webhook.timeout).or(mcp.map(|server| server.timeout)),
            webhook: webhook.map(WebhookOut::from).unwrap_or_default(),
            allow: mcp.and_then(|server| server.allow.clone()),
            listing: mcp.zip(named.tool.listing.as_ref()).map(ListingOut::from),
        }
    }
}

/// The fields that only webhook tools have.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct WebhookOut {
    /// Only webhook tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "GET")]
    method: Option<String>,
    /// The template of the body, if the tool has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "{\"lines\": {lines}}")]
    body: Option<String>,
    /// Whether the body is a form. Only webhook tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    form: Option<bool>,
    /// The fields that are sent in addition to the arguments. Only webhook tools have it.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, example = json!({"source": "***"}))]
    static_fields: Option<BTreeMap<String, &'static str>>,
    /// Present if requests are signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "***")]
    secret: Option<&'static str>,
    /// The secrets that `{{name}}` may use. Only webhook tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, example = json!({"shop_token": "***"}))]
    secrets: Option<BTreeMap<String, &'static str>>,
    /// Whether a call may be sent again after a crash, whatever its method. Only webhook tools have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    idempotent: Option<bool>,
}

impl From<&WebhookTool> for WebhookOut {
    fn from(tool: &WebhookTool) -> Self {
        Self {
            method: Some(tool.method.clone()),
            body: tool.body.clone(),
            form: Some(tool.form),
            static_fields: Some(tool.static_fields.keys().map(|name| (name.clone(), REDACTED)).collect()),
            secret: tool.secret.as_ref().map(|_| REDACTED),
            secrets: Some(tool.secrets.keys().map(|name| (name.clone(), REDACTED)).collect()),
            idempotent: Some(tool.idempotent),
        }
    }
}

/// The value of a header, which is not shown: `***`, or `{"secret": "***"}` for one that is stored as a secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolHeader)]
#[serde(untagged)]
pub(super) enum ToolHeaderOut {
    Plain(&'static str),
    Secret { secret: &'static str },
}

fn headers_out(headers: &Headers) -> BTreeMap<String, ToolHeaderOut> {
    let value = |text: &HeaderText| match text {
        HeaderText::Plain(_) => ToolHeaderOut::Plain(REDACTED),
        HeaderText::Secret(_) => ToolHeaderOut::Secret { secret: REDACTED },
    };
    headers.iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

/// The tools that a Model Context Protocol server listed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolListing)]
pub(super) struct ListingOut {
    /// The tools that assistants can use.
    tools: Vec<McpToolOut>,
    /// Names of allowed tools that the server does not have.
    #[schema(example = json!([]))]
    missing: Vec<String>,
    /// The time since which the list has not changed.
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    listed_since: String,
}

impl From<(&McpServer, &McpListing)> for ListingOut {
    fn from((server, listing): (&McpServer, &McpListing)) -> Self {
        Self {
            tools: listing.tools.iter().cloned().map(McpToolOut::from).collect(),
            missing: listing.missing(server.allow.as_deref()).map(str::to_owned).collect(),
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
