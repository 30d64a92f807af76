//! Builds the request of a call.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::MAX_RESPONSE;
use super::endpoint::{Endpoint, MAX_BODY, Payload};
use crate::domain::seal::SecretField;
use crate::domain::signature::{SigningSecret, sign};
use crate::domain::template::{Values, argument_names, fill_header, fill_json, fill_url};
use crate::domain::tool::{HeaderText, query_name, query_names};
use crate::outbound::OutboundRequest;
use crate::tools::Call;
use crate::tools::secrets::Secrets;

/// The longest filled URL and header, in bytes.
const MAX_URL: usize = 8 * 1024;
const MAX_HEADER: usize = 8 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

pub(super) struct RequestBuilder<'a> {
    pub endpoint: &'a Endpoint,
    pub call: &'a Call,
    /// For `{{name}}`.
    pub variables: &'a Map<String, Value>,
    /// Seconds since 1970, for the signature.
    pub timestamp: i64,
}

impl RequestBuilder<'_> {
    /// The error is for the model.
    pub(super) fn build(&self, secrets: &mut Secrets<'_>) -> Result<OutboundRequest, String> {
        let url = self.url()?;
        let body = self.body()?;
        let mut headers = self.headers(secrets)?;
        if let Some((kind, _)) = &body {
            headers.entry(CONTENT_TYPE).or_insert_with(|| kind.clone());
        }
        let body = body.map(|(_, bytes)| bytes);
        self.sign(&mut headers, body.as_deref().unwrap_or_default(), secrets)?;
        Ok(OutboundRequest {
            method: self.endpoint.method.clone(),
            url,
            headers,
            body,
            timeout: self.endpoint.timeout,
            max_response: MAX_RESPONSE,
        })
    }

    fn values(&self) -> Values<'_> {
        Values { variables: self.variables, arguments: &self.call.arguments }
    }

    /// The arguments, overridden by the fixed fields of the operator.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = self.call.arguments.clone();
        fields.extend(self.endpoint.static_fields.clone());
        fields
    }

    fn url(&self) -> Result<String, String> {
        let template = &self.endpoint.url;
        let mut url = fill_url(template, self.values(), MAX_URL).map_err(|error| error.to_string())?;
        if !matches!(self.endpoint.payload, Payload::Query) {
            return Ok(url);
        }
        let query = encode(&self.query_fields(&query_names(&url))?);
        if query.is_empty() {
            return Ok(url);
        }
        // The URL is not parsed, because allowed hosts are compared with its text.
        if let Some(fragment) = url.find('#') {
            url.truncate(fragment);
        }
        let separator = match url.find('?') {
            None => "?",
            Some(_) if url.ends_with(['?', '&']) => "",
            Some(_) => "&",
        };
        url.push_str(separator);
        url.push_str(&query);
        if url.len() > MAX_URL { Err(format!("the URL is longer than {MAX_URL} bytes")) } else { Ok(url) }
    }

    /// The fields to add to a query that has these names, which none may repeat. `rejoinder apply` refuses a tool whose URL repeats a
    /// field; versions of an assistant from before it did, and schemas that accept others, get here.
    fn query_fields(&self, taken: &HashSet<String>) -> Result<Map<String, Value>, String> {
        let is_taken = |name: &str| taken.contains(&query_name(name));
        let mut fields = self.call.arguments.clone();
        for name in argument_names(&self.endpoint.url) {
            fields.shift_remove(name);
        }
        let fixed = self.endpoint.static_fields.iter().filter(|(name, _)| !is_taken(name));
        fields.retain(|name, _| !self.endpoint.static_fields.contains_key(name));
        if let Some(name) = fields.keys().find(|name| is_taken(name)) {
            return Err(format!(
                "the argument \"{name}\" would repeat a name in the query of the tool's URL"
            ));
        }
        fields.extend(fixed.map(|(name, value)| (name.clone(), value.clone())));
        Ok(fields)
    }

    fn body(&self) -> Result<Option<(HeaderValue, Bytes)>, String> {
        let (kind, text) = match &self.endpoint.payload {
            Payload::Query => return Ok(None),
            Payload::Json => (JSON, Value::Object(self.fields()).to_string()),
            Payload::Form => (FORM, encode(&self.fields())),
            Payload::Template(template) => {
                (JSON, fill_json(template, self.values(), MAX_BODY).map_err(|error| error.to_string())?)
            }
        };
        if text.len() > MAX_BODY {
            return Err(format!("the body is longer than {MAX_BODY} bytes"));
        }
        Ok(Some((kind, text.into())))
    }

    fn headers(&self, secrets: &mut Secrets<'_>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, text) in &self.endpoint.headers {
            let (text, is_secret) = match text {
                HeaderText::Secret(sealed) => {
                    let field = SecretField::Header(name.as_str());
                    (secrets.open(field, sealed)?.expose_secret().to_owned(), true)
                }
                HeaderText::Plain(template) => {
                    let filled = fill_header(template, self.values(), MAX_HEADER);
                    (filled.map_err(|error| error.to_string())?, false)
                }
            };
            // `HeaderValue` refuses line breaks, so a value cannot start another header.
            let mut value = HeaderValue::from_bytes(text.trim().as_bytes()).map_err(|_| {
                format!("the header {name} cannot carry a line break or another control character")
            })?;
            value.set_sensitive(is_secret);
            headers.append(name.clone(), value);
        }
        headers.insert(IDEMPOTENCY_KEY, header(&self.call.id)?);
        Ok(headers)
    }

    fn sign(&self, headers: &mut HeaderMap, body: &[u8], secrets: &mut Secrets<'_>) -> Result<(), String> {
        let Some(sealed) = &self.endpoint.secret else { return Ok(()) };
        let opened = secrets.open(SecretField::Signing, sealed)?;
        let secret =
            SigningSecret::parse(opened.expose_secret().trim()).map_err(|invalid| invalid.to_string())?;
        let signature = sign(&self.call.id, self.timestamp, body, &[secret]);
        headers.insert(WEBHOOK_ID, header(&self.call.id)?);
        headers.insert(WEBHOOK_TIMESTAMP, self.timestamp.into());
        headers.insert(WEBHOOK_SIGNATURE, header(&signature)?);
        Ok(())
    }
}

fn header(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "a header value contains an invalid character".to_owned())
}

/// Form encoding: strings unchanged, one pair for each item of a list, other JSON as text. Nulls are omitted.
fn encode(fields: &Map<String, Value>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let items =
            if let Value::Array(items) = value { items.as_slice() } else { std::slice::from_ref(value) };
        for item in items {
            match item {
                Value::Null => {}
                Value::String(text) => {
                    form.append_pair(name, text);
                }
                other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    form.append_pair(name, &other.to_string());
                }
            }
        }
    }
    form.finish()
}
