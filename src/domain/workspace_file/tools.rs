//! The tools of a file: which keys each kind takes, and what they may hold.

mod mcp;

use std::collections::{BTreeMap, HashSet};

use http::HeaderName;
use jiff::fmt::friendly::SpanParser;
use serde_json::{Value, json};

use super::check::check_text;
use super::document::{Document, FileFault};
use super::written::{TextIn, ToolIn};
use super::{EnvName, FileTool, FileUses, FileWebhook};
use crate::domain::calendar;
use crate::domain::knowledge;
use crate::domain::schema_work::check_schema;
use crate::domain::template::{argument_names, is_variable};

const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 4096;
const MAX_SCHEMA: usize = 64 * 1024;
const MAX_URL: usize = 8 * 1024;
const MAX_HEADER: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const USUAL_TIMEOUT_MS: u64 = 10_000;
/// Headers that the HTTP client sets itself.
const RESERVED_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// A tool being checked: where it stands, for what is said of it.
#[derive(Clone, Copy)]
struct Place<'d> {
    document: &'d Document<'d>,
    index: usize,
}

impl Place<'_> {
    fn path(self, key: &str) -> String {
        format!("tools[{}].{key}", self.index)
    }

    fn fault(self, key: &str, problem: impl std::fmt::Display) -> FileFault {
        self.document.fault(&self.path(key), problem)
    }

    fn missing(self, key: &str) -> FileFault {
        self.document.fault(&format!("tools[{}]", self.index), format_args!("{key} is missing"))
    }
}

/// What a tool has where the file does not say it.
struct Usual {
    name: Option<&'static str>,
    description: Option<&'static str>,
    parameters: Value,
}

impl Usual {
    fn new(name: &'static str, description: &'static str, parameters: Value) -> Self {
        Self { name: Some(name), description: Some(description), parameters }
    }
}

pub(super) fn check(
    document: &Document<'_>,
    index: usize,
    mut tool: ToolIn,
    calendars: &HashSet<String>,
) -> Result<FileTool, FileFault> {
    let place = Place { document, index };
    let (uses, usual) = match tool.kind.as_str() {
        "calendar_availability" => {
            let uses = FileUses::CalendarAvailability { calendar: calendar_of(place, &mut tool, calendars)? };
            let schema = calendar::availability_schema();
            (uses, Usual::new(calendar::AVAILABILITY_NAME, calendar::AVAILABILITY_DESCRIPTION, schema))
        }
        "calendar_booking" => {
            let uses = FileUses::CalendarBooking { calendar: calendar_of(place, &mut tool, calendars)? };
            let schema = calendar::booking_schema();
            (uses, Usual::new(calendar::BOOKING_NAME, calendar::BOOKING_DESCRIPTION, schema))
        }
        "calendar_cancel" => {
            let uses = FileUses::CalendarCancel { calendar: calendar_of(place, &mut tool, calendars)? };
            let schema = calendar::cancel_schema();
            (uses, Usual::new(calendar::CANCEL_NAME, calendar::CANCEL_DESCRIPTION, schema))
        }
        "knowledge" => {
            let uses = FileUses::Knowledge { base: base_of(place, &mut tool)? };
            let schema = knowledge::search_schema();
            (uses, Usual::new(knowledge::SEARCH_NAME, knowledge::SEARCH_DESCRIPTION, schema))
        }
        "webhook" => {
            let schema = schema_of(place, tool.parameters.take())?;
            let webhook = webhook(place, &mut tool)?;
            check_arguments(place, &webhook, &schema)?;
            let uses = FileUses::Webhook(Box::new(webhook));
            (uses, Usual { name: None, description: None, parameters: schema })
        }
        "mcp" => return mcp::check(place, tool),
        other => {
            let known = "calendar_availability, calendar_booking, calendar_cancel, knowledge, webhook, mcp";
            return Err(place.fault("kind", format_args!("\"{other}\" is none of: {known}")));
        }
    };
    refuse_rest(place, &tool)?;

    let name = tool.name.unwrap_or_else(|| usual.name.unwrap_or(&tool.slug).to_owned());
    if !is_name(&name) {
        let problem = format!("\"{name}\" is no name for a model: 1 to {MAX_NAME} of A-Z a-z 0-9 _ -");
        return Err(place.fault("name", problem));
    }
    let description = tool.description.or_else(|| usual.description.map(str::to_owned));
    let description = description.ok_or_else(|| place.missing("description"))?;
    check_text(document, &place.path("description"), &description, MAX_DESCRIPTION)?;
    Ok(FileTool { slug: tool.slug, name, description, parameters: usual.parameters, uses })
}

fn calendar_of(
    place: Place<'_>,
    tool: &mut ToolIn,
    calendars: &HashSet<String>,
) -> Result<String, FileFault> {
    let calendar = tool.calendar.take().ok_or_else(|| place.missing("calendar"))?;
    if calendars.contains(&calendar) {
        return Ok(calendar);
    }
    Err(place.fault("calendar", format_args!("there is no calendar \"{calendar}\"")))
}

/// One that the file does not have may have been made through the API: that the store knows.
fn base_of(place: Place<'_>, tool: &mut ToolIn) -> Result<String, FileFault> {
    tool.knowledge_base.take().ok_or_else(|| place.missing("knowledge_base"))
}

/// Each key that the tool's kind takes was taken: what is left has no meaning.
fn refuse_rest(place: Place<'_>, tool: &ToolIn) -> Result<(), FileFault> {
    let left = [
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
    match left.iter().find(|(_, is_there)| *is_there) {
        Some((key, _)) => {
            Err(place.fault(key, format_args!("a tool of kind \"{}\" does not have it", tool.kind)))
        }
        None => Ok(()),
    }
}

fn webhook(place: Place<'_>, tool: &mut ToolIn) -> Result<FileWebhook, FileFault> {
    let url = tool.url.take().ok_or_else(|| place.missing("url"))?;
    check_text(place.document, &place.path("url"), &url, MAX_URL)?;
    let method = tool.method.take().unwrap_or_else(|| "POST".to_owned());
    if !METHODS.contains(&method.as_str()) {
        let problem = format!("\"{method}\" is none of: {}", METHODS.join(", "));
        return Err(place.fault("method", problem));
    }
    let body = tool.body.take();
    if let Some(body) = &body {
        check_text(place.document, &place.path("body"), body, MAX_BODY)?;
    }
    let form = tool.form.take().unwrap_or(false);
    let static_fields = tool.static_fields.take().unwrap_or_default();
    check_body(place, &method, body.is_some(), form, !static_fields.is_empty())?;
    Ok(FileWebhook {
        headers: headers(place, tool.headers.take().unwrap_or_default())?,
        timeout_ms: timeout_ms(place, tool.timeout.take().as_deref())?,
        secret: tool.secret.take(),
        secrets: secrets(place, tool.secrets.take().unwrap_or_default())?,
        idempotent: tool.idempotent.take().unwrap_or(false),
        method,
        url,
        body,
        form,
        static_fields,
    })
}

fn check_body(
    place: Place<'_>,
    method: &str,
    has_body: bool,
    is_form: bool,
    has_static: bool,
) -> Result<(), FileFault> {
    if method == "GET" {
        let given = [("body", has_body), ("form", is_form), ("static", has_static)];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
            return Err(place.fault(key, "a GET has no body; put arguments into the url"));
        }
    }
    if has_body && is_form {
        return Err(place.fault("form", "a tool with a body of its own sends that"));
    }
    if has_body && has_static {
        return Err(place.fault("static", "a tool with a body of its own sends that"));
    }
    Ok(())
}

fn headers(place: Place<'_>, written: BTreeMap<String, TextIn>) -> Result<Vec<(String, TextIn)>, FileFault> {
    let mut known = HashSet::new();
    for (name, text) in &written {
        let fault = |problem: &str| place.fault(&format!("headers.{name}"), problem);
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault("no name of a header"))?;
        if RESERVED_HEADERS.contains(&parsed.as_str()) {
            return Err(fault("set by the client itself"));
        }
        if !known.insert(parsed) {
            return Err(fault("is there twice"));
        }
        if let TextIn::Plain(text) = text
            && (text.len() > MAX_HEADER || text.contains(|c: char| c.is_control() && c != '\t'))
        {
            return Err(fault("longer than 8 KiB, or with line breaks or control characters"));
        }
    }
    Ok(written.into_iter().collect())
}

/// Secrets for `{{name}}`, by names that a template can use.
fn secrets(
    place: Place<'_>,
    written: BTreeMap<String, EnvName>,
) -> Result<Vec<(String, EnvName)>, FileFault> {
    for name in written.keys() {
        if !is_variable(name) {
            return Err(place.fault("secrets", format_args!("`{name}` cannot stand in a placeholder")));
        }
    }
    Ok(written.into_iter().collect())
}

/// Each argument that a template uses is one that the model can give.
fn check_arguments(place: Place<'_>, webhook: &FileWebhook, schema: &Value) -> Result<(), FileFault> {
    let mut known = HashSet::new();
    collect_properties(schema, &mut known);
    let url = ("url".to_owned(), &webhook.url);
    let headers = webhook.headers.iter().filter_map(|(name, text)| match text {
        TextIn::Plain(text) => Some((format!("headers.{name}"), text)),
        TextIn::Env(_) => None,
    });
    let body = webhook.body.iter().map(|body| ("body".to_owned(), body));
    for (key, template) in std::iter::once(url).chain(headers).chain(body) {
        if let Some(name) = argument_names(template).find(|name| !known.contains(name)) {
            let problem = format!("{{{name}}} is no argument: parameters has no property \"{name}\"");
            return Err(place.fault(&key, problem));
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

fn timeout_ms(place: Place<'_>, text: Option<&str>) -> Result<u64, FileFault> {
    let Some(text) = text else { return Ok(USUAL_TIMEOUT_MS) };
    let duration = SpanParser::new().parse_unsigned_duration(text).ok();
    let millis = duration.and_then(|duration| u64::try_from(duration.as_millis()).ok());
    millis
        .filter(|millis| (1_000..=30_000).contains(millis))
        .ok_or_else(|| place.fault("timeout", format_args!("\"{text}\" is not 1 to 30 seconds, as \"10s\"")))
}

/// The schema of a webhook's arguments; none: it takes none.
fn schema_of(place: Place<'_>, written: Option<Value>) -> Result<Value, FileFault> {
    let schema = written.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(place.fault("parameters", "a JSON Schema with type = \"object\" is expected"));
    }
    if schema.to_string().len() > MAX_SCHEMA {
        return Err(place.fault("parameters", format_args!("longer than {MAX_SCHEMA} bytes")));
    }
    check_schema(&schema).map_err(|problem| place.fault("parameters", problem))?;
    match jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex()).build(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => Err(place.fault("parameters", format_args!("not a JSON Schema: {error}"))),
    }
}

/// What every vendor takes as the name of a function.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}
