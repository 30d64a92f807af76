//! The tools of a file: the keys of each kind, and their checks.

mod mcp;

use std::collections::{BTreeMap, HashSet};

use http::HeaderName;
use jiff::fmt::friendly::SpanParser;
use serde_json::{Value, json};

use super::check::check_text;
use super::document::{Document, WorkspaceFileError};
use super::raw::ToolIn;
use super::{EnvName, FileTool, FileToolConfig};
use crate::domain::assistant::{HeaderText, WebhookTool};
use crate::domain::calendar;
use crate::domain::knowledge;
use crate::domain::schema_cost::check_schema;
use crate::domain::template::{argument_names, is_variable};

const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 4096;
const MAX_SCHEMA: usize = 64 * 1024;
const MAX_URL: usize = 8 * 1024;
const MAX_HEADER: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// Headers that the HTTP client sets itself.
const RESERVED_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// The location of the tool being checked, for error texts.
#[derive(Clone, Copy)]
struct ToolLocation<'d> {
    document: &'d Document<'d>,
    index: usize,
}

impl ToolLocation<'_> {
    fn path(self, key: &str) -> String {
        format!("tools[{}].{key}", self.index)
    }

    fn error(self, key: &str, problem: impl std::fmt::Display) -> WorkspaceFileError {
        self.document.error(&self.path(key), problem)
    }

    fn missing(self, key: &str) -> WorkspaceFileError {
        self.document.error(&format!("tools[{}]", self.index), format_args!("{key} is missing"))
    }
}

/// The defaults of a tool's kind.
struct ToolDefaults {
    name: Option<&'static str>,
    description: Option<&'static str>,
    parameters: Value,
}

impl ToolDefaults {
    fn new(name: &'static str, description: &'static str, parameters: Value) -> Self {
        Self { name: Some(name), description: Some(description), parameters }
    }
}

pub(super) fn check(
    document: &Document<'_>,
    index: usize,
    mut tool: ToolIn,
    calendars: &HashSet<String>,
) -> Result<FileTool, WorkspaceFileError> {
    let location = ToolLocation { document, index };
    let (config, defaults) = match tool.kind.as_str() {
        "calendar_availability" => {
            let config = FileToolConfig::CalendarAvailability {
                calendar: take_calendar(location, &mut tool, calendars)?,
            };
            let schema = calendar::availability_schema();
            (
                config,
                ToolDefaults::new(calendar::AVAILABILITY_NAME, calendar::AVAILABILITY_DESCRIPTION, schema),
            )
        }
        "calendar_booking" => {
            let config =
                FileToolConfig::CalendarBooking { calendar: take_calendar(location, &mut tool, calendars)? };
            let schema = calendar::booking_schema();
            (config, ToolDefaults::new(calendar::BOOKING_NAME, calendar::BOOKING_DESCRIPTION, schema))
        }
        "calendar_cancel" => {
            let config =
                FileToolConfig::CalendarCancel { calendar: take_calendar(location, &mut tool, calendars)? };
            let schema = calendar::cancel_schema();
            (config, ToolDefaults::new(calendar::CANCEL_NAME, calendar::CANCEL_DESCRIPTION, schema))
        }
        "knowledge" => {
            let config = FileToolConfig::Knowledge { base: take_knowledge_base(location, &mut tool)? };
            let schema = knowledge::search_schema();
            (config, ToolDefaults::new(knowledge::SEARCH_NAME, knowledge::SEARCH_DESCRIPTION, schema))
        }
        "webhook" => {
            let schema = parameters_schema(location, tool.parameters.take())?;
            let webhook = webhook(location, &mut tool)?;
            check_arguments(location, &webhook, &schema)?;
            let config = FileToolConfig::Webhook(Box::new(webhook));
            (config, ToolDefaults { name: None, description: None, parameters: schema })
        }
        "mcp" => return mcp::check(location, tool),
        other => {
            let known = "calendar_availability, calendar_booking, calendar_cancel, knowledge, webhook, mcp";
            return Err(location.error("kind", format_args!("\"{other}\" is none of: {known}")));
        }
    };
    reject_unused_keys(location, &tool)?;

    let name = tool.name.unwrap_or_else(|| defaults.name.unwrap_or(&tool.slug).to_owned());
    if !is_function_name(&name) {
        let problem = format!("\"{name}\" is no name for a model: 1 to {MAX_NAME} of A-Z a-z 0-9 _ -");
        return Err(location.error("name", problem));
    }
    let description = tool.description.or_else(|| defaults.description.map(str::to_owned));
    let description = description.ok_or_else(|| location.missing("description"))?;
    check_text(document, &location.path("description"), &description, MAX_DESCRIPTION)?;
    Ok(FileTool { slug: tool.slug, name, description, parameters: defaults.parameters, config })
}

fn take_calendar(
    location: ToolLocation<'_>,
    tool: &mut ToolIn,
    calendars: &HashSet<String>,
) -> Result<String, WorkspaceFileError> {
    let calendar = tool.calendar.take().ok_or_else(|| location.missing("calendar"))?;
    if calendars.contains(&calendar) {
        return Ok(calendar);
    }
    Err(location.error("calendar", format_args!("there is no calendar \"{calendar}\"")))
}

/// Not looked up here: a knowledge base that is not in the file may have been created through the API.
fn take_knowledge_base(location: ToolLocation<'_>, tool: &mut ToolIn) -> Result<String, WorkspaceFileError> {
    tool.knowledge_base.take().ok_or_else(|| location.missing("knowledge_base"))
}

/// Refuses keys that the tool's kind does not have: those were not taken by its check.
fn reject_unused_keys(location: ToolLocation<'_>, tool: &ToolIn) -> Result<(), WorkspaceFileError> {
    let keys = [
        ("calendar", tool.calendar.is_some()),
        ("knowledge_base", tool.knowledge_base.is_some()),
        ("method", tool.method.is_some()),
        ("url", tool.url.is_some()),
        ("headers", tool.headers.is_some()),
        ("parameters", tool.parameters.is_some()),
        ("body", tool.body.is_some()),
        ("form", tool.form.is_some()),
        ("static", tool.static_fields.is_some()),
        ("timeout", tool.timeout.is_some()),
        ("secret", tool.secret.is_some()),
        ("allow", tool.allow.is_some()),
        ("secrets", tool.secrets.is_some()),
        ("idempotent", tool.idempotent.is_some()),
    ];
    match keys.iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => {
            Err(location.error(key, format_args!("a tool of kind \"{}\" does not have it", tool.kind)))
        }
        None => Ok(()),
    }
}

fn webhook(
    location: ToolLocation<'_>,
    tool: &mut ToolIn,
) -> Result<WebhookTool<EnvName>, WorkspaceFileError> {
    let url = tool.url.take().ok_or_else(|| location.missing("url"))?;
    check_text(location.document, &location.path("url"), &url, MAX_URL)?;
    let method = tool.method.take().unwrap_or_else(|| "POST".to_owned());
    if !METHODS.contains(&method.as_str()) {
        let problem = format!("\"{method}\" is none of: {}", METHODS.join(", "));
        return Err(location.error("method", problem));
    }
    let body = tool.body.take();
    if let Some(body) = &body {
        check_text(location.document, &location.path("body"), body, MAX_BODY)?;
    }
    let form = tool.form.take().unwrap_or(false);
    let static_fields = tool.static_fields.take().unwrap_or_default();
    check_body(location, &method, body.is_some(), form, !static_fields.is_empty())?;
    Ok(WebhookTool {
        headers: headers(location, tool.headers.take().unwrap_or_default())?,
        timeout_ms: timeout_ms(location, tool.timeout.take().as_deref())?,
        secret: tool.secret.take(),
        secrets: secrets(location, tool.secrets.take().unwrap_or_default())?,
        idempotent: tool.idempotent.take().unwrap_or(false),
        method,
        url,
        body,
        form,
        static_fields,
    })
}

fn check_body(
    location: ToolLocation<'_>,
    method: &str,
    has_body: bool,
    is_form: bool,
    has_static: bool,
) -> Result<(), WorkspaceFileError> {
    if method == "GET" {
        let keys = [("body", has_body), ("form", is_form), ("static", has_static)];
        if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
            return Err(location.error(key, "a GET has no body; put arguments into the url"));
        }
    }
    if has_body && is_form {
        return Err(location.error("form", "a tool with a body of its own sends that"));
    }
    if has_body && has_static {
        return Err(location.error("static", "a tool with a body of its own sends that"));
    }
    Ok(())
}

fn headers(
    location: ToolLocation<'_>,
    raw: BTreeMap<String, HeaderText<EnvName>>,
) -> Result<Vec<(String, HeaderText<EnvName>)>, WorkspaceFileError> {
    let mut known = HashSet::new();
    for (name, text) in &raw {
        let error = |problem: &str| location.error(&format!("headers.{name}"), problem);
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| error("no name of a header"))?;
        if RESERVED_HEADERS.contains(&parsed.as_str()) {
            return Err(error("set by the client itself"));
        }
        if !known.insert(parsed) {
            return Err(error("is there twice"));
        }
        if let HeaderText::Plain(text) = text
            && (text.len() > MAX_HEADER || text.contains(|c: char| c.is_control() && c != '\t'))
        {
            return Err(error("longer than 8 KiB, or with line breaks or control characters"));
        }
    }
    Ok(raw.into_iter().collect())
}

/// Secrets for `{{name}}`, by names that a template can use.
fn secrets(
    location: ToolLocation<'_>,
    raw: BTreeMap<String, EnvName>,
) -> Result<Vec<(String, EnvName)>, WorkspaceFileError> {
    for name in raw.keys() {
        if !is_variable(name) {
            return Err(location.error("secrets", format_args!("`{name}` cannot stand in a placeholder")));
        }
    }
    Ok(raw.into_iter().collect())
}

/// Each argument that a template uses is one that the model can give.
fn check_arguments(
    location: ToolLocation<'_>,
    webhook: &WebhookTool<EnvName>,
    schema: &Value,
) -> Result<(), WorkspaceFileError> {
    let mut known = HashSet::new();
    collect_properties(schema, &mut known);
    let url = ("url".to_owned(), &webhook.url);
    let headers = webhook.headers.iter().filter_map(|(name, text)| match text {
        HeaderText::Plain(text) => Some((format!("headers.{name}"), text)),
        HeaderText::Secret(_) => None,
    });
    let body = webhook.body.iter().map(|body| ("body".to_owned(), body));
    for (key, template) in std::iter::once(url).chain(headers).chain(body) {
        if let Some(name) = argument_names(template).find(|name| !known.contains(name)) {
            let problem = format!("{{{name}}} is no argument: parameters has no property \"{name}\"");
            return Err(location.error(&key, problem));
        }
    }
    Ok(())
}

/// The names of all properties in a schema, wherever they stand: `$ref` and `allOf` may bring them up.
fn collect_properties<'s>(schema: &'s Value, known: &mut HashSet<&'s str>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        known.extend(properties.keys().map(String::as_str));
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| collect_properties(part, known)),
        Value::Array(parts) => parts.iter().for_each(|part| collect_properties(part, known)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn timeout_ms(location: ToolLocation<'_>, text: Option<&str>) -> Result<u64, WorkspaceFileError> {
    let Some(text) = text else { return Ok(DEFAULT_TIMEOUT_MS) };
    let duration = SpanParser::new().parse_unsigned_duration(text).ok();
    let millis = duration.and_then(|duration| u64::try_from(duration.as_millis()).ok());
    millis.filter(|millis| (1_000..=30_000).contains(millis)).ok_or_else(|| {
        location.error("timeout", format_args!("\"{text}\" is not 1 to 30 seconds, as \"10s\""))
    })
}

/// The schema of a webhook's arguments; without one it takes no arguments.
fn parameters_schema(location: ToolLocation<'_>, raw: Option<Value>) -> Result<Value, WorkspaceFileError> {
    let schema = raw.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(location.error("parameters", "a JSON Schema with type = \"object\" is expected"));
    }
    if schema.to_string().len() > MAX_SCHEMA {
        return Err(location.error("parameters", format_args!("longer than {MAX_SCHEMA} bytes")));
    }
    check_schema(&schema).map_err(|problem| location.error("parameters", problem))?;
    match jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex()).build(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => Err(location.error("parameters", format_args!("not a JSON Schema: {error}"))),
    }
}

/// Whether every model vendor accepts this as the name of a function.
fn is_function_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}
