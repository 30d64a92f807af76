//! An HTTP endpoint that a tool calls.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use http::HeaderName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{GivenSpec, check_spec, no_parameters};
use crate::domain::chat::ToolSpec;
use crate::domain::invalid_field::{InvalidField, check_text};
use crate::domain::schema_cost::{check_schema, declared_properties};
use crate::domain::seal::{SealedSecret, SecretField};
use crate::domain::template::{argument_names, is_variable};
use crate::domain::text::deserialize_text;

/// The longest URL of a tool, in characters.
pub const MAX_URL: usize = 8 * 1024;
const MAX_SCHEMA: usize = 64 * 1024;
/// The longest value of a header, in characters.
pub const MAX_HEADER: usize = 8 * 1024;
/// The longest template of a body, in characters.
pub const MAX_BODY: usize = 64 * 1024;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Headers that the HTTP client sets itself.
const RESERVED_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// An endpoint and the requests to it. `S` is a secret, as in [`super::ToolConfig`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Secret<'de>"))]
pub struct WebhookTool<S = SealedSecret> {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    #[serde(default = "default_method")]
    pub method: String,
    /// With `{argument}`s and `{{variable}}`s.
    pub url: String,
    #[serde(default = "Headers::new")]
    pub headers: Headers<S>,
    /// With `{argument}`s and `{{variable}}`s. `None`: the arguments as JSON, or as a form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default)]
    pub form: bool,
    /// Fixed fields that are sent in addition to the arguments.
    #[serde(default, rename = "static")]
    pub static_fields: Map<String, Value>,
    /// 1 to 30 seconds.
    #[serde(
        default = "default_timeout",
        serialize_with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required::serialize",
        deserialize_with = "read_timeout"
    )]
    pub timeout: Duration,
    /// Signs the request according to Standard Webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<S>,
    /// Secrets for `{{name}}`, which take precedence over variables.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, S>,
    /// Whether a call that may have arrived can be sent again, regardless of the method.
    #[serde(default)]
    pub idempotent: bool,
}

/// Headers by name.
pub type Headers<S = SealedSecret> = BTreeMap<String, HeaderText<S>>;

/// A header's value: a text, or a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum HeaderText<S = SealedSecret> {
    Secret(S),
    /// With `{argument}`s and `{{variable}}`s.
    Plain(String),
}

impl<S> HeaderText<S> {
    /// The secret, if it is one.
    pub fn secret(&self) -> Option<&S> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::Plain(_) => None,
        }
    }
}

/// A secret that a configuration has: sealed, the name of an environment variable, or the value that a request gives.
pub trait Secret<'de>: Deserialize<'de> {
    /// What the value of a header can be, for an error.
    const HEADER: &'static str;

    /// Reads the object that stands for a secret where a string is plain text.
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

impl<'de> Secret<'de> for SealedSecret {
    const HEADER: &'static str = "a text, or a sealed secret";

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(map))
    }
}

// Not derived, because an untagged enum would lose the inner error and its line.
impl<'de, S: Secret<'de>> Deserialize<'de> for HeaderText<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor<S>(PhantomData<S>);

        impl<'de, S: Secret<'de>> Visitor<'de> for HeaderVisitor<S> {
            type Value = HeaderText<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(S::HEADER)
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(HeaderText::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                S::from_map(map).map(HeaderText::Secret)
            }
        }

        deserializer.deserialize_any(HeaderVisitor(PhantomData))
    }
}

impl<S> WebhookTool<S> {
    pub(super) fn check(&self, slug: &str, given: GivenSpec) -> Result<ToolSpec, InvalidField> {
        let parameters = given.parameters.unwrap_or_else(no_parameters);
        check_parameters(&parameters)?;
        check_text("url", &self.url, MAX_URL)?;
        if !METHODS.contains(&self.method.as_str()) {
            let problem = format!("\"{}\" is none of: {}", self.method, METHODS.join(", "));
            return Err(InvalidField::new("method", problem));
        }
        self.check_body()?;
        check_headers(&self.headers)?;
        check_timeout(self.timeout)?;
        if let Some(name) = self.secrets.keys().find(|name| !is_variable(name)) {
            return Err(InvalidField::new(
                "secrets",
                format_args!("`{name}` is not a valid placeholder name"),
            ));
        }
        self.check_arguments(&parameters)?;
        self.check_query(&parameters)?;
        let description = given.description.ok_or_else(|| InvalidField::new("description", "missing"))?;
        check_spec(given.name.unwrap_or_else(|| slug.to_owned()), description, parameters)
    }

    fn check_body(&self) -> Result<(), InvalidField> {
        let (has_body, has_static) = (self.body.is_some(), !self.static_fields.is_empty());
        if let Some(body) = &self.body {
            check_text("body", body, MAX_BODY)?;
        }
        if self.method == "GET" {
            let keys = [("body", has_body), ("form", self.form), ("static", has_static)];
            if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set) {
                return Err(InvalidField::new(key, "a GET has no body; put arguments into the url"));
            }
        }
        for (key, is_set) in [("form", self.form), ("static", has_static)] {
            if has_body && is_set {
                return Err(InvalidField::new(key, "cannot be combined with body"));
            }
        }
        Ok(())
    }

    /// Checks that each argument in a template is a property of the schema.
    fn check_arguments(&self, schema: &Value) -> Result<(), InvalidField> {
        let mut known = HashSet::new();
        collect_properties(schema, &mut known);
        let url = ("url".to_owned(), &self.url);
        let headers = self.headers.iter().filter_map(|(name, text)| match text {
            HeaderText::Plain(text) => Some((format!("headers.{name}"), text)),
            HeaderText::Secret(_) => None,
        });
        let body = self.body.iter().map(|body| ("body".to_owned(), body));
        for (key, template) in std::iter::once(url).chain(headers).chain(body) {
            if let Some(name) = argument_names(template).find(|name| !known.contains(name)) {
                let problem = format!("{{{name}}} is no argument: parameters has no property \"{name}\"");
                return Err(InvalidField::new(key, problem));
            }
        }
        Ok(())
    }

    /// Checks that no argument or fixed field that is added to the URL's query repeats a name in it: most servers would use the last
    /// of the two.
    fn check_query(&self, schema: &Value) -> Result<(), InvalidField> {
        let is_added = matches!(self.method.as_str(), "GET" | "DELETE") && self.body.is_none() && !self.form;
        if !is_added {
            return Ok(());
        }
        let placeholders: HashSet<&str> = argument_names(&self.url).collect();
        let declared = declared_properties(schema).names.into_iter();
        let arguments = declared.filter(|name| !placeholders.contains(name)).map(|name| ("parameters", name));
        let fixed = self.static_fields.keys().map(|name| ("static", name.as_str()));
        let taken = query_names(&self.url);
        match arguments.chain(fixed).find(|(_, name)| taken.contains(&query_name(name))) {
            Some((key, name)) => {
                Err(InvalidField::new(key, format_args!("\"{name}\" is in the query of the url already")))
            }
            None => Ok(()),
        }
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = (SecretField<'_>, &S)> {
        let signing = self.secret.iter().map(|secret| (SecretField::Signing, secret));
        let placeholders = self.secrets.iter().map(|(name, secret)| (SecretField::Placeholder(name), secret));
        header_secrets(&self.headers).chain(signing).chain(placeholders)
    }

    pub(super) fn try_map<S2, E>(
        &self,
        mut to_secret: impl FnMut(SecretField<'_>, &S) -> Result<S2, E>,
    ) -> Result<WebhookTool<S2>, E> {
        Ok(WebhookTool {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: map_headers(&self.headers, &mut to_secret)?,
            body: self.body.clone(),
            form: self.form,
            static_fields: self.static_fields.clone(),
            timeout: self.timeout,
            secret: self.secret.as_ref().map(|secret| to_secret(SecretField::Signing, secret)).transpose()?,
            secrets: self
                .secrets
                .iter()
                .map(|(name, secret)| Ok((name.clone(), to_secret(SecretField::Placeholder(name), secret)?)))
                .collect::<Result<_, E>>()?,
            idempotent: self.idempotent,
        })
    }
}

/// The names in the query of a URL, or of the template of one, in the form of [`query_name`].
pub fn query_names(url: &str) -> HashSet<String> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).map(|(name, _)| query_name(&name)).collect()
}

/// A name in a query as the most tolerant servers read it: without case, and without the brackets of a list (`tags[]`).
pub fn query_name(name: &str) -> String {
    name.split('[').next().unwrap_or_default().to_ascii_lowercase()
}

fn default_method() -> String {
    "POST".to_owned()
}

pub(super) fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

/// A duration such as `10s`.
pub(super) fn read_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserialize_text(deserializer, "a duration such as \"10s\"", |text| {
        let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
        parsed.map_err(|_| format!("\"{text}\" is not 1 to 30 seconds, as \"10s\""))
    })
}

pub(super) fn check_timeout(timeout: Duration) -> Result<(), InvalidField> {
    if (Duration::from_secs(1)..=Duration::from_secs(30)).contains(&timeout) {
        return Ok(());
    }
    Err(InvalidField::new("timeout", format_args!("\"{timeout:?}\" is not 1 to 30 seconds, as \"10s\"")))
}

pub(super) fn check_headers<S>(headers: &Headers<S>) -> Result<(), InvalidField> {
    let mut known = HashSet::new();
    for (name, text) in headers {
        let error = |problem: &str| InvalidField::new(format_args!("headers.{name}"), problem);
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| error("not a valid header name"))?;
        if RESERVED_HEADERS.contains(&parsed.as_str()) {
            return Err(error("set by the HTTP client"));
        }
        if !known.insert(parsed) {
            return Err(error("is there twice"));
        }
        if let HeaderText::Plain(text) = text
            && (text.chars().count() > MAX_HEADER || text.contains(|c: char| c.is_control() && c != '\t'))
        {
            return Err(error("longer than 8192 characters, or with line breaks or control characters"));
        }
    }
    Ok(())
}

pub(super) fn header_secrets<S>(headers: &Headers<S>) -> impl Iterator<Item = (SecretField<'_>, &S)> {
    headers.iter().filter_map(|(name, text)| Some((SecretField::Header(name), text.secret()?)))
}

pub(super) fn map_headers<S, S2, E>(
    headers: &Headers<S>,
    mut to_secret: impl FnMut(SecretField<'_>, &S) -> Result<S2, E>,
) -> Result<Headers<S2>, E> {
    let map = |(name, text): (&String, &HeaderText<S>)| {
        let text = match text {
            HeaderText::Plain(text) => HeaderText::Plain(text.clone()),
            HeaderText::Secret(secret) => HeaderText::Secret(to_secret(SecretField::Header(name), secret)?),
        };
        Ok((name.clone(), text))
    };
    headers.iter().map(map).collect()
}

/// Adds the names of all properties of a schema at any depth, because `$ref` and `allOf` can refer to other parts.
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

fn check_parameters(schema: &Value) -> Result<(), InvalidField> {
    let error = |problem: String| Err(InvalidField::new("parameters", problem));
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return error("a JSON Schema with type = \"object\" is expected".to_owned());
    }
    if schema.to_string().len() > MAX_SCHEMA {
        return error(format!("longer than {MAX_SCHEMA} bytes"));
    }
    check_schema(schema).or_else(error)?;
    let options = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex());
    match options.build(schema) {
        Ok(_) => Ok(()),
        Err(problem) => error(format!("not a JSON Schema: {problem}")),
    }
}
