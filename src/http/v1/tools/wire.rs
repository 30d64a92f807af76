//! Tools, as they travel.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::assistant::{HeaderText, WebhookTool};
use crate::domain::ids::{CalendarId, ToolId};
use crate::domain::tool::Uses;
use crate::http::fields::Field;
use crate::service::tools::NamedTool;
use crate::service::tools::test_call::Tested;

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
}

/// A tool, in short.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ToolListedOut {
    #[schema(value_type = String, example = "tool_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: ToolId,
    /// Its name in the workspace file.
    slug: String,
    /// What the model calls it by.
    #[schema(example = "get_order_status")]
    name: String,
    /// `calendar_availability`, `calendar_booking`, `calendar_cancel` or `webhook`.
    #[schema(example = "webhook")]
    kind: &'static str,
    description: String,
}

impl From<&NamedTool> for ToolListedOut {
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
    tool: ToolListedOut,
    /// The JSON Schema of its arguments.
    #[schema(value_type = Object)]
    parameters: Value,
    /// Of a calendar's tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "cal_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    calendar_id: Option<CalendarId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookOut>,
}

impl From<NamedTool> for ToolOut {
    fn from(named: NamedTool) -> Self {
        let listed = ToolListedOut::from(&named);
        let (calendar_id, webhook) = match named.tool.uses {
            Uses::CalendarAvailability { calendar }
            | Uses::CalendarBooking { calendar }
            | Uses::CalendarCancel { calendar } => (Some(calendar), None),
            Uses::Webhook(webhook) => (None, Some(WebhookOut::from(*webhook))),
        };
        Self { tool: listed, parameters: named.tool.parameters, calendar_id, webhook }
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
    headers: Vec<HeaderOut>,
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
            headers: tool.headers.into_iter().map(HeaderOut::from).collect(),
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

/// A header that a tool sends.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolHeaderOut)]
pub(in crate::http) struct HeaderOut {
    #[schema(example = "authorization")]
    name: String,
    /// Whether its value is a secret.
    secret: bool,
}

impl From<(String, HeaderText)> for HeaderOut {
    fn from((name, text): (String, HeaderText)) -> Self {
        Self { name, secret: matches!(text, HeaderText::Sealed(_)) }
    }
}

/// What a test call came to.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct TestedOut {
    /// What the model would be shown; `{"error": …}` where the call failed.
    #[schema(value_type = Object)]
    result: Map<String, Value>,
    duration_ms: u64,
    /// Of a webhook: what was sent, its secrets masked. Absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<SentOut>,
    /// Of a webhook: what it answered, secrets masked. Absent where no answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ReceivedOut>,
}

impl From<Tested> for TestedOut {
    fn from(tested: Tested) -> Self {
        let (request, response) =
            tested.exchange.map_or((None, None), |exchange| (exchange.request, exchange.response));
        Self {
            result: tested.result.fields().clone(),
            duration_ms: u64::try_from(tested.took.as_millis()).unwrap_or(u64::MAX),
            request: request.map(|sent| SentOut {
                method: sent.method,
                url: sent.url,
                headers: sent
                    .headers
                    .into_iter()
                    .map(|(name, value)| SentHeaderOut { name, value })
                    .collect(),
                body: sent.body,
            }),
            response: response.map(|received| ReceivedOut {
                status: received.status,
                content_type: received.content_type,
                body: received.body,
            }),
        }
    }
}

/// A request as it was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SentRequestOut)]
pub(in crate::http) struct SentOut {
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
#[schema(as = ReceivedResponseOut)]
pub(in crate::http) struct ReceivedOut {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Its beginning; absent where it was too large to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}
