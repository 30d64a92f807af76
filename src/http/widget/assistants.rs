//! An assistant as its widget needs it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, ORIGIN, VARY};
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::{FromVisitor, Guarded};
use crate::domain::assistant::AssistantVersion;
use crate::domain::ids::{AssistantId, ResourceId as _};
use crate::domain::schema::{AssistantIdOrUuid, ToolKind};
use crate::domain::tool::CompiledTool;
use crate::domain::widget_settings::{FormFieldType, ToolDisplay};
use crate::http::describe::{Errors, NotFound, Unavailable};
use crate::http::envelope::{ApiError, Widget};
use crate::http::extract::PathParam;
use crate::http::fields::assistant_id;
use crate::http::response::widget_success;
use crate::http::state::AppState;
use crate::service::widget_assistant;

/// An assistant as its widget shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WidgetAssistant)]
pub(super) struct WidgetAssistantOut {
    id: AssistantId,
    /// The heading: the `title` of its widget, or its name.
    #[schema(example = "Front desk")]
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Usually answers at once")]
    subtitle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "#0f5f4b")]
    accent: Option<String>,
    #[schema(example = json!(["Where is my order?"]))]
    quick_replies: Vec<String>,
    /// To be filled in before a conversation is created with its values as `variables`.
    #[schema(inline)]
    form: Vec<FormFieldOut>,
    #[schema(inline)]
    tools: ToolDisplay,
    /// Its tools, by the names in `function_calls`.
    #[schema(inline, example = json!({"get_order_status": {"kind": "webhook", "label": "Looking up your order"}}))]
    tool_labels: BTreeMap<String, ToolLabelOut>,
}

/// A field of the form in front of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WidgetFormField)]
pub(super) struct FormFieldOut {
    /// The name of the variable.
    #[schema(example = "customer_name")]
    variable: String,
    #[schema(example = "Your name")]
    label: String,
    #[serde(rename = "type")]
    #[schema(inline)]
    kind: FormFieldType,
    required: bool,
    /// The longest value, in characters.
    #[schema(example = 80)]
    max_length: usize,
}

/// What the widget says while a tool is called.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WidgetToolLabel)]
pub(super) struct ToolLabelOut {
    /// For a tool without a label: a widget has words for each kind.
    #[schema(value_type = ToolKind)]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Looking up your order")]
    label: Option<String>,
}

impl WidgetAssistantOut {
    fn new(id: AssistantId, version: &AssistantVersion) -> Self {
        let widget = &version.widget;
        let tools = widget.tools.unwrap_or(ToolDisplay::Label);
        // The widget does not show these tools, so their names are not sent.
        let shown = if tools == ToolDisplay::Hidden { &[][..] } else { &version.tools[..] };
        let form = widget.form.iter().filter_map(|field| {
            Some(FormFieldOut {
                variable: field.variable.clone(),
                label: field.label.clone(),
                kind: field.kind.unwrap_or(FormFieldType::Text),
                required: field.required,
                max_length: version.visitor_variables.get(&field.variable)?.max_length,
            })
        });
        Self {
            id,
            title: version.widget_title().to_owned(),
            subtitle: widget.subtitle.clone(),
            accent: widget.accent.clone(),
            quick_replies: widget.quick_replies.clone(),
            form: form.collect(),
            tools,
            tool_labels: shown.iter().map(tool_label).collect(),
        }
    }
}

fn tool_label(tool: &CompiledTool) -> (String, ToolLabelOut) {
    (tool.spec.name.clone(), ToolLabelOut { kind: tool.kind.as_str(), label: tool.label.clone() })
}

/// The response with an assistant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WidgetAssistantRead {
    status: bool,
    assistant: WidgetAssistantOut,
}

type AssistantErrors = Errors<Widget, (Guarded, NotFound<AssistantId>, Unavailable)>;

/// Read an assistant's widget settings.
///
/// They are for everybody whose page may talk to the assistant. An archived assistant has them, too, because it answers in its
/// conversations.
#[utoipa::path(
    get, path = "/assistants/{assistant}", tag = "widget", operation_id = "readWidgetAssistant",
    params(("assistant" = inline(AssistantIdOrUuid), Path, description = "The assistant's UUID or `ast_…` id", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses(
        (
            status = 200, description = "The assistant", body = WidgetAssistantRead,
            headers(("Cache-Control" = String, description = "`private, max-age=60`: a browser keeps it for a minute")),
        ),
        AssistantErrors,
    ),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    FromVisitor(visitor): FromVisitor,
) -> Result<Response, ApiError<Widget>> {
    let id = assistant_id(&name).map_err(|_| AssistantId::not_found(&name))?;
    let (account, origin) = (visitor.account.as_ref(), visitor.origin.as_deref());
    let (_, version) = widget_assistant::find(&state.services, id, account, origin).await?;
    let assistant = WidgetAssistantOut::new(id, &version);
    let mut response = widget_success(&WidgetAssistantRead { status: true, assistant });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    // A page that is refused must not get the response to another one.
    headers.insert(VARY, HeaderValue::from(ORIGIN));
    Ok(response)
}
