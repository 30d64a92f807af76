//! A parsed webhook, whose templates are filled for each call.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Method};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::domain::seal::SealedSecret;
use crate::domain::template::{Values, fill_json};
use crate::domain::tool::{HeaderText, WebhookTool};

const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// The longest filled body, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

pub(super) struct Endpoint {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderText)>,
    pub payload: Payload,
    pub static_fields: Map<String, Value>,
    pub timeout: Duration,
    pub secret: Option<SealedSecret>,
    /// For `{{name}}`; overrides the variable of that name.
    pub secrets: BTreeMap<String, SealedSecret>,
    idempotent: bool,
}

/// The destination of the arguments.
pub(super) enum Payload {
    /// No body: arguments that are not placeholders in the URL are added to its query.
    Query,
    Json,
    Form,
    /// A JSON text with placeholders.
    Template(String),
}

impl Endpoint {
    /// The error names the invalid key and the problem.
    pub(super) fn read(tool: &WebhookTool) -> Result<Self, String> {
        let method = read_method(&tool.method)?;
        let payload = read_payload(tool, &method)?;
        if !TIMEOUT.contains(&tool.timeout) {
            return Err("timeout: not between 1 and 30 seconds".to_owned());
        }
        let read_name = |name: &str| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("headers: `{name}` is not a valid header name"))
        };
        let headers: Result<Vec<_>, String> =
            tool.headers.iter().map(|(name, text)| Ok((read_name(name)?, text.clone()))).collect();
        Ok(Self {
            method,
            url: tool.url.clone(),
            headers: headers?,
            payload,
            static_fields: tool.static_fields.clone(),
            timeout: tool.timeout,
            secret: tool.secret.clone(),
            secrets: tool.secrets.clone(),
            idempotent: tool.idempotent,
        })
    }

    /// Whether a call that may have arrived can be repeated.
    pub(super) fn is_repeatable(&self) -> bool {
        self.idempotent || matches!(self.method, Method::GET | Method::PUT | Method::DELETE)
    }
}

fn read_method(text: &str) -> Result<Method, String> {
    match text {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(format!("method: `{text}` is not one of GET, POST, PUT, PATCH, DELETE")),
    }
}

fn read_payload(tool: &WebhookTool, method: &Method) -> Result<Payload, String> {
    if *method == Method::GET && (tool.form || tool.body.is_some()) {
        return Err("a GET request has no body: neither `body` nor `form` fits it".to_owned());
    }
    match &tool.body {
        Some(_) if tool.form => Err("body: not together with `form`; a template's body is JSON".to_owned()),
        Some(_) if !tool.static_fields.is_empty() => {
            Err("body: not together with `static`; write the fields into the template".to_owned())
        }
        Some(template) => check_template(template).map(|()| Payload::Template(template.clone())),
        None if tool.form => Ok(Payload::Form),
        None if matches!(*method, Method::GET | Method::DELETE) => Ok(Payload::Query),
        None => Ok(Payload::Json),
    }
}

/// Checks the template without any values: if it is JSON then, it is JSON with any values.
fn check_template(template: &str) -> Result<(), String> {
    let none = Map::new();
    let filled = fill_json(template, Values { variables: &none, arguments: &none }, MAX_BODY)
        .map_err(|error| format!("body: {error}"))?;
    let parsed: Result<IgnoredAny, _> = serde_json::from_str(&filled);
    parsed.map(|_json| ()).map_err(|_| {
        "body: not JSON; a placeholder must be within a string, or replace a whole value".to_owned()
    })
}
