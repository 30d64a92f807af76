//! A model call: request, parts of the response, the collected response, and errors. Independent of any wire format.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::assistant::ModelRef;
use super::failure::Failure;
use super::foreign_text::ForeignText;

/// One call of a model. Cheap to clone: a history is in memory once while the model thinks.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The name of the model at its endpoint.
    pub model: String,
    /// Oldest first; every tool call is followed by its result.
    pub messages: Arc<[ChatMessage]>,
    pub tools: Arc<[ToolSpec]>,
    /// Another model can be called if this one does not begin to answer in time. Else it may take all the time that its
    /// caller has.
    pub has_fallback: bool,
    /// Passed through to the endpoint (`temperature`, …).
    pub parameters: Map<String, Value>,
}

/// A message as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatMessage {
    System(String),
    User(String),
    Assistant {
        text: Option<String>,
        calls: Vec<ToolCall>,
        vendor: Option<VendorFields>,
    },
    /// The result of the call `call_id`; `content` is JSON.
    Tool {
        call_id: String,
        content: String,
    },
}

/// A tool as the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    pub name: String,
    pub description: String,
    /// A JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
}

/// A call that the model requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The model's text, which should be a JSON object.
    pub arguments: String,
}

/// Fields of a message that we do not know, such as signatures of thoughts. Some vendors refuse the next request of a turn
/// without them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorFields {
    /// The model that sent them; no other model gets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelRef>,
    /// Beside `content` and `tool_calls`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub message: Map<String, Value>,
    /// Of each call, beside `id`, `type` and `function`; those beside the function's name and arguments are in `function`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Map<String, Value>>,
}

/// A whole response: text, calls, or both. It is journalled as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAnswer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    #[serde(default)]
    pub usage: Usage,
    /// The model's reasoning, for the trace only; of bounded length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thoughts: Option<String>,
    /// The text ends where the model reached its limit of tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_truncated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<VendorFields>,
}

/// Tokens of one call; zero if the endpoint does not report them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub input: i64,
    /// The part of `input` that the provider had cached.
    pub cached: i64,
    pub output: i64,
    /// The part of `output` that was spent on reasoning.
    pub reasoning: i64,
}

impl Usage {
    /// Adds another call's tokens; saturates.
    pub fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.cached = self.cached.saturating_add(other.cached);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }
}

/// A piece of a response, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// A piece of the call in `index` (0, 1, …). The first piece with a name or an id sets it; arguments are
    /// appended.
    Call {
        index: usize,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
    },
    /// The model's reasoning.
    Thoughts(String),
    /// Fields of the message, or of the call in `index`, that we do not know.
    Vendor {
        index: Option<usize>,
        fields: Map<String, Value>,
    },
    /// Replaces the previous token counts.
    Usage(Usage),
    /// The model has finished; a response without it was cut off. `is_truncated`: it reached its limit of tokens.
    Finished {
        is_truncated: bool,
    },
}

/// Why a model call failed. It contains no key. Its text names the endpoint, without what that said: it is for the log, not for visitors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", self.kind.failure().detail(), self.detail.as_deref().map(ToString::to_string).unwrap_or_default())]
pub struct ModelError {
    pub kind: ModelErrorKind,
    pub detail: Option<Box<ModelErrorDetail>>,
}

impl From<ModelErrorKind> for ModelError {
    fn from(kind: ModelErrorKind) -> Self {
        Self { kind, detail: None }
    }
}

impl ModelError {
    /// Its detail, as it is stored with the turn.
    pub fn detail_json(&self) -> Option<String> {
        serde_json::to_string(self.detail.as_deref()?).ok()
    }

    /// What the endpoint said. It may quote the request, so it is never logged.
    pub fn foreign_message(&self) -> Option<&str> {
        match self.detail.as_deref()?.message.as_ref()? {
            ModelErrorMessage::Foreign(text) => Some(text.expose()),
            ModelErrorMessage::Own(_) => None,
        }
    }
}

/// What the endpoint said. It is stored with the turn, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ModelError)]
pub struct ModelErrorDetail {
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required)]
    pub connection: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required)]
    pub model: String,
    /// Without user name, password and query; a key in its path is removed.
    pub url: String,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor's code or type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The vendor's message, of bounded length, without the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub message: Option<ModelErrorMessage>,
}

/// The words of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ModelErrorMessage {
    /// Of this server, about the connection or the response.
    Own(String),
    /// Of the endpoint.
    Foreign(ForeignText),
}

impl ModelErrorMessage {
    /// The text. Never for a log.
    pub fn expose(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Foreign(text) => text.expose(),
        }
    }

    /// The same, to be masked or shortened.
    pub fn expose_mut(&mut self) -> &mut String {
        match self {
            Self::Own(text) => text,
            Self::Foreign(text) => text.expose_mut(),
        }
    }
}

impl fmt::Display for ModelErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " ({}", self.url)?;
        if let Some(status) = self.status {
            write!(f, ": {status}")?;
        }
        // Some vendors put a sentence in its place.
        if let Some(code) = self.code.as_deref().filter(|code| is_vendor_code(code)) {
            write!(f, " {code}")?;
        }
        if let Some(ModelErrorMessage::Own(message)) = &self.message {
            write!(f, " “{message}”")?;
        }
        f.write_str(")")
    }
}

/// Whether a text is a single word, as codes of vendors are.
pub fn is_vendor_code(code: &str) -> bool {
    code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The kind of a failure of a model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelErrorKind {
    /// Silence for too long.
    Timeout,
    /// It used up the whole time of an attempt: another attempt would take as long.
    TooSlow,
    /// No connection, or a 5xx.
    Unavailable,
    RateLimited {
        retry_after: Option<Duration>,
    },
    /// Another 4xx.
    Refused,
    /// A content filter withheld the response. The next one may pass.
    Withheld,
    /// Invalid, empty, cut off or too large.
    Unreadable,
    /// Text that was shown turned out to be thoughts. The next attempt holds such text back.
    LateThoughts,
}

impl ModelErrorKind {
    /// Whether the same call may succeed later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Timeout
            | Self::Unavailable
            | Self::RateLimited { .. }
            | Self::Withheld
            | Self::Unreadable
            | Self::LateThoughts => true,
            Self::Refused | Self::TooSlow => false,
        }
    }

    /// Whether the model may have used tokens: it had the request, and did not refuse it.
    pub fn uses_tokens(self) -> bool {
        match self {
            Self::Timeout | Self::TooSlow | Self::Withheld | Self::Unreadable | Self::LateThoughts => true,
            Self::Unavailable | Self::RateLimited { .. } | Self::Refused => false,
        }
    }

    /// The failure of a turn that ends with this error.
    pub fn failure(self) -> Failure {
        match self {
            Self::Timeout | Self::TooSlow => Failure::Timeout,
            Self::Unavailable => Failure::ModelUnavailable,
            Self::RateLimited { .. } => Failure::ModelRateLimited,
            Self::Refused | Self::Withheld => Failure::ModelRefused,
            Self::Unreadable | Self::LateThoughts => Failure::ModelUnreadable,
        }
    }
}

/// Removes U+0000 from a text, because PostgreSQL cannot store it.
pub fn clean_text(mut text: String) -> String {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    text
}

/// Removes U+0000 from every string and key of a JSON value.
pub fn clean_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean_text(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(clean_value).collect()),
        Value::Object(fields) => Value::Object(clean_map(fields)),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// [`clean_value`] for the fields of an object.
pub fn clean_map(fields: Map<String, Value>) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (clean_text(key), clean_value(value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_of_an_error_has_nothing_that_the_endpoint_wrote() {
        let detail = ModelErrorDetail {
            url: "http://m".to_owned(),
            status: Some(400),
            code: Some("bad_request".to_owned()),
            message: Some(ModelErrorMessage::Foreign("Ada's secret".to_owned().into())),
            ..ModelErrorDetail::default()
        };
        let error = |detail: &ModelErrorDetail| ModelError {
            kind: ModelErrorKind::Refused,
            detail: Some(Box::new(detail.clone())),
        };

        assert!(error(&detail).to_string().ends_with(" (http://m: 400 bad_request)"));
        assert!(!format!("{:?}", error(&detail)).contains("Ada"));
        assert!(error(&detail).detail_json().unwrap().contains(r#""message":"Ada's secret""#));
        let with_sentence = ModelErrorDetail { code: Some("Ada's secret".to_owned()), ..detail.clone() };
        assert!(!error(&with_sentence).to_string().contains("Ada"));
        let own = ModelErrorDetail { message: Some(ModelErrorMessage::Own("refused".to_owned())), ..detail };
        assert!(error(&own).to_string().contains("“refused”"));
    }

    #[test]
    fn an_answer_survives_the_journal() {
        let answer = ModelAnswer {
            text: None,
            calls: vec![ToolCall { id: "a".to_owned(), name: "t".to_owned(), arguments: "{".to_owned() }],
            usage: Usage { input: 3, ..Usage::default() },
            ..ModelAnswer::default()
        };

        let stored = serde_json::to_string(&answer).unwrap();

        assert_eq!(serde_json::from_str::<ModelAnswer>(&stored).unwrap(), answer);
        assert_eq!(serde_json::from_str::<ModelAnswer>("{}").unwrap(), ModelAnswer::default());
    }

    #[test]
    fn nul_is_taken_out_at_every_depth() {
        assert_eq!(clean_value(json!({"a\0": ["b\0c", {"d": "\0"}], "n": 1})), {
            json!({"a": ["bc", {"d": ""}], "n": 1})
        });
    }
}
