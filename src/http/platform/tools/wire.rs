//! Tools, as they travel.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::assistant::{HeaderText, WebhookTool};
use crate::domain::clock::Micros;
use crate::domain::ids::{CalendarId, KnowledgeBaseId, ToolId};
use crate::domain::mcp::{McpToolSpec, McpTools};
use crate::domain::tool::ToolConfig;
use crate::http::fields::Field;
use crate::service::tools::NamedTool;
use crate::service::tools::refresh::RefreshResult;
use crate::service::tools::test_call::TestCallResult;

/// What a tool is tried with.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TestCall)]
pub(in crate::http) struct TestCallIn {
    /// As the model would give them. Absent: none.
    #[schema(value_type = Object, required = false, example = json!({"order_id": "A7"}))]
    pub(super) arguments: Field,
    /// For `{{name}}`, as if they had been set on a conversation with a key.
    #[schema(value_type = Object, required = false)]
    pub(super) variables: Field,
    /// Which tool of an MCP server that has several.
    #[schema(value_type = String, required = false, example = "find_customer")]
    pub(super) name: Field,
}

/// A tool, in short.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolListedOut)]
pub(in crate::http) struct ToolSummaryOut {
    #[schema(value_type = String, example = "tool_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: ToolId,
    /// Its name in the workspace file.
    slug: String,
    /// What the model calls it by.
    #[schema(example = "get_order_status")]
    name: String,
    /// `calendar_availability`, `calendar_booking`, `calendar_cancel`, `knowledge`, `webhook` or `mcp`.
    #[schema(example = "webhook")]
    kind: &'static str,
    description: String,
}

impl From<&NamedTool> for ToolSummaryOut {
    fn from(named: &NamedTool) -> Self {
        Self {
            id: named.id,
            slug: named.slug.clone(),
            name: named.tool.name.clone(),
            kind: named.tool.uses.as_str(),
            description: named.tool.description.clone(),
        }
    }
}

/// A tool.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ToolOut {
    #[serde(flatten)]
    #[schema(inline)]
    tool: ToolSummaryOut,
    /// The JSON Schema of its arguments.
    #[schema(value_type = Object)]
    parameters: Value,
    /// Of a calendar's tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "cal_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    calendar_id: Option<CalendarId>,
    /// Of a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "kb_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    knowledge_base_id: Option<KnowledgeBaseId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<McpOut>,
}

impl From<NamedTool> for ToolOut {
    fn from(named: NamedTool) -> Self {
        let summary = ToolSummaryOut::from(&named);
        let parameters = named.tool.parameters;
        let tool_out = Self {
            tool: summary,
            parameters,
            calendar_id: None,
            knowledge_base_id: None,
            webhook: None,
            mcp: None,
        };
        match named.tool.uses {
            ToolConfig::CalendarAvailability { calendar }
            | ToolConfig::CalendarBooking { calendar }
            | ToolConfig::CalendarCancel { calendar } => Self { calendar_id: Some(calendar), ..tool_out },
            ToolConfig::Knowledge { base } => Self { knowledge_base_id: Some(base), ..tool_out },
            ToolConfig::Webhook(webhook) => Self { webhook: Some((*webhook).into()), ..tool_out },
            ToolConfig::Mcp(tools) => Self { mcp: Some((*tools).into()), ..tool_out },
        }
    }
}

/// The endpoint that a webhook tool calls. Of what it sends by itself only names are shown.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct WebhookOut {
    #[schema(example = "GET")]
    method: String,
    /// With its placeholders.
    #[schema(example = "https://shop.example/orders/{order_id}")]
    url: String,
    headers: Vec<ToolHeaderOut>,
    /// The body's template, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Whether its body is a form.
    form: bool,
    /// The fields that are sent besides the arguments.
    #[serde(rename = "static")]
    static_fields: Vec<String>,
    /// The secrets that `{{name}}` may use.
    secrets: Vec<String>,
    /// Whether requests are signed.
    signed: bool,
    timeout_ms: u64,
    idempotent: bool,
}

impl From<WebhookTool> for WebhookOut {
    fn from(tool: WebhookTool) -> Self {
        Self {
            method: tool.method,
            url: tool.url,
            headers: tool.headers.into_iter().map(ToolHeaderOut::from).collect(),
            body: tool.body,
            form: tool.form,
            static_fields: tool.static_fields.into_iter().map(|(name, _)| name).collect(),
            secrets: tool.secrets.into_iter().map(|(name, _)| name).collect(),
            signed: tool.secret.is_some(),
            timeout_ms: tool.timeout_ms,
            idempotent: tool.idempotent,
        }
    }
}

/// A Model Context Protocol server, and what it listed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct McpOut {
    #[schema(example = "https://crm.example/mcp")]
    url: String,
    headers: Vec<ToolHeaderOut>,
    timeout_ms: u64,
    /// The tools that are wanted; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
    /// Of those that are wanted, what the server does not have.
    missing: Vec<String>,
    /// What assistants have of it.
    tools: Vec<McpToolOut>,
    /// Since when the list is as it is.
    listed_since: String,
}

impl From<McpTools> for McpOut {
    fn from(tools: McpTools) -> Self {
        Self {
            missing: tools.missing().map(str::to_owned).collect(),
            url: tools.server.url,
            headers: tools.server.headers.into_iter().map(ToolHeaderOut::from).collect(),
            timeout_ms: tools.server.timeout_ms,
            allow: tools.allow,
            tools: tools.found.into_iter().map(McpToolOut::from).collect(),
            listed_since: Micros::from(tools.found_at).to_string(),
        }
    }
}

/// A tool that an MCP server listed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct McpToolOut {
    name: String,
    description: String,
    #[schema(value_type = Object)]
    parameters: Value,
}

impl From<McpToolSpec> for McpToolOut {
    fn from(found: McpToolSpec) -> Self {
        Self { name: found.name, description: found.description, parameters: found.parameters }
    }
}

/// What a new list of an MCP server's tools came to.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct RefreshedToolOut {
    tool: ToolOut,
    /// Whether the list differs from the one before; then assistants have new versions.
    changed: bool,
    /// What was left out, and why.
    warnings: Vec<String>,
}

impl From<RefreshResult> for RefreshedToolOut {
    fn from(refreshed: RefreshResult) -> Self {
        Self { tool: refreshed.tool.into(), changed: refreshed.changed, warnings: refreshed.warnings }
    }
}

/// A header that a tool sends.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ToolHeaderOut {
    #[schema(example = "authorization")]
    name: String,
    /// Whether its value is a secret.
    secret: bool,
}

impl From<(String, HeaderText)> for ToolHeaderOut {
    fn from((name, text): (String, HeaderText)) -> Self {
        Self { name, secret: matches!(text, HeaderText::Secret(_)) }
    }
}

/// What a test call came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestedOut)]
pub(in crate::http) struct TestCallOut {
    /// What the model would be shown; `{"error": …}` where the call failed.
    #[schema(value_type = Object)]
    result: Map<String, Value>,
    duration_ms: u64,
    /// Of a webhook: what was sent, its secrets masked. Absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<SentRequestOut>,
    /// Of a webhook: what it answered, secrets masked. Absent where no answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ReceivedResponseOut>,
}

impl From<TestCallResult> for TestCallOut {
    fn from(tested: TestCallResult) -> Self {
        let (request, response) =
            tested.exchange.map_or((None, None), |exchange| (exchange.request, exchange.response));
        Self {
            result: tested.result.fields().clone(),
            duration_ms: u64::try_from(tested.duration.as_millis()).unwrap_or(u64::MAX),
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

/// A request as it was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct SentRequestOut {
    method: String,
    url: String,
    headers: Vec<SentHeaderOut>,
    /// Its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// A header as it was sent; `***` for a secret.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct SentHeaderOut {
    name: String,
    #[schema(example = "***")]
    value: String,
}

/// An answer as it came.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ReceivedResponseOut {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Its beginning; absent where it was too large to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}
