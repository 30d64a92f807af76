//! The request, in the types of async-openai and in the form that every vendor accepts.

use std::collections::HashMap;

use async_openai::types::chat::{
    ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls, ChatCompletionRequestAssistantMessage,
    ChatCompletionRequestMessage, ChatCompletionRequestSystemMessage, ChatCompletionRequestToolMessage,
    ChatCompletionRequestUserMessage, ChatCompletionStreamOptions, ChatCompletionTool, ChatCompletionTools,
    CreateChatCompletionRequest, FunctionCall, FunctionObject,
};
use serde_json::{Map, Value};

use super::tool_schema;
use crate::domain::chat::{
    ChatMessage, ChatRequest, ModelError, ModelErrorKind, ToolCall, ToolSpec, VendorFields,
};

/// Parameters that assistants cannot set.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "n"];

/// Fields that a request can do without, where an endpoint refuses them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Omitted {
    pub stream_options: bool,
    pub vendor_fields: bool,
}

/// Reasoning as text, which endpoints accept only beside a text.
const REASONING_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

/// The body. A null parameter removes a field, for endpoints that do not know it; `stream = false` requests one JSON
/// object.
pub(super) fn encode(request: &ChatRequest, omitted: Omitted) -> Result<Vec<u8>, ModelError> {
    let vendor: Vec<_> =
        if omitted.vendor_fields { Vec::new() } else { request.messages.iter().map(vendor_fields).collect() };
    let mut ids = CallIds::default();
    let body = CreateChatCompletionRequest {
        model: request.model.clone(),
        messages: request.messages.iter().map(|message| encode_message(message, &mut ids)).collect(),
        tools: Some(request.tools.iter().map(encode_tool).collect())
            .filter(|tools: &Vec<_>| !tools.is_empty()),
        stream: Some(true),
        stream_options: Some(ChatCompletionStreamOptions {
            include_usage: Some(true),
            include_obfuscation: None,
        })
        .filter(|_| !omitted.stream_options),
        ..CreateChatCompletionRequest::default()
    };

    let body = serde_json::to_value(body).map_err(|_| ModelErrorKind::Refused)?;
    let Value::Object(mut body) = body else { return Err(ModelErrorKind::Refused.into()) };
    let messages = body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    let vendor = vendor.into_iter().chain(std::iter::repeat_with(VendorFields::default));
    for (message, fields) in messages.zip(vendor) {
        add_vendor_fields(message, fields);
        add_content(message);
    }
    merge(&mut body, &request.parameters);
    serde_json::to_vec(&body).map_err(|_| ModelErrorKind::Refused.into())
}

fn merge(body: &mut Map<String, Value>, parameters: &Map<String, Value>) {
    for (key, value) in parameters {
        if !RESERVED.contains(&key.as_str()) {
            body.insert(key.clone(), value.clone());
        }
    }
    if body.get("stream") == Some(&Value::Bool(false)) {
        body.remove("stream_options");
    }
    body.retain(|_, value| !value.is_null());
}

fn vendor_fields(message: &ChatMessage) -> VendorFields {
    match message {
        ChatMessage::Assistant { vendor, .. } => vendor.clone().unwrap_or_default(),
        ChatMessage::System(_) | ChatMessage::User(_) | ChatMessage::Tool { .. } => VendorFields::default(),
    }
}

fn add_vendor_fields(message: &mut Value, fields: VendorFields) {
    add_missing(message, fields.message);
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
    for (call, fields) in calls.zip(fields.calls) {
        add_missing(call, fields);
    }
}

/// A message of the assistant without a text says so: endpoints refuse one without `content` (`DeepSeek`, Mistral), and those
/// behind Bedrock and Anthropic refuse an empty text, so it is null, as in OpenAI's own client. Beside reasoning, which comes
/// from endpoints that send an empty text with it, `DeepSeek` refuses null.
fn add_content(message: &mut Value) {
    let Value::Object(message) = message else { return };
    if message.get("role").is_some_and(|role| role == "assistant") && !message.contains_key("content") {
        let has_reasoning = REASONING_FIELDS.iter().any(|field| message.contains_key(*field));
        let content = if has_reasoning { Value::from("") } else { Value::Null };
        message.insert("content".to_owned(), content);
    }
}

/// Whether a request has fields of a vendor.
pub(super) fn has_vendor_fields(request: &ChatRequest) -> bool {
    request.messages.iter().any(|message| vendor_fields(message) != VendorFields::default())
}

/// Adds fields, also to the objects in an object; none is replaced.
fn add_missing(object: &mut Value, fields: Map<String, Value>) {
    let Value::Object(object) = object else { return };
    for (key, value) in fields {
        match (object.get_mut(&key), value) {
            (Some(nested), Value::Object(fields)) => add_missing(nested, fields),
            (Some(_), _) => {}
            (None, value) => {
                object.insert(key, value);
            }
        }
    }
}

/// Call ids, numbered in order of appearance: nine letters and digits, the form that every vendor accepts. The same
/// history always gets the same ids.
#[derive(Default)]
struct CallIds {
    assigned: HashMap<String, String>,
}

impl CallIds {
    fn assign(&mut self, id: &str) -> String {
        let number = self.assigned.len();
        self.assigned.entry(id.to_owned()).or_insert_with(|| format!("call{number:05}")).clone()
    }
}

fn encode_message(message: &ChatMessage, ids: &mut CallIds) -> ChatCompletionRequestMessage {
    match message {
        ChatMessage::System(text) => {
            ChatCompletionRequestSystemMessage { content: text.clone().into(), name: None }.into()
        }
        ChatMessage::User(text) => {
            ChatCompletionRequestUserMessage { content: text.clone().into(), name: None }.into()
        }
        ChatMessage::Assistant { text, calls, vendor: _ } => {
            let calls: Vec<_> = calls.iter().map(|call| encode_call(call, ids)).collect();
            ChatCompletionRequestAssistantMessage {
                content: text.clone().map(Into::into),
                tool_calls: Some(calls).filter(|calls| !calls.is_empty()),
                ..ChatCompletionRequestAssistantMessage::default()
            }
            .into()
        }
        ChatMessage::Tool { call_id, content } => ChatCompletionRequestToolMessage {
            content: content.clone().into(),
            tool_call_id: ids.assign(call_id),
        }
        .into(),
    }
}

fn encode_call(call: &ToolCall, ids: &mut CallIds) -> ChatCompletionMessageToolCalls {
    ChatCompletionMessageToolCalls::Function(ChatCompletionMessageToolCall {
        id: ids.assign(&call.id),
        function: FunctionCall { name: tool_schema::name(&call.name), arguments: call.arguments.clone() },
    })
}

fn encode_tool(tool: &ToolSpec) -> ChatCompletionTools {
    ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: tool_schema::name(&tool.name),
            description: Some(tool.description.clone()).filter(|text| !text.is_empty()),
            parameters: Some(tool_schema::parameters(&tool.parameters)),
            strict: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn encoded(messages: Vec<ChatMessage>, parameters: Value) -> Value {
        let Value::Object(parameters) = parameters else { panic!("no object") };
        let request = ChatRequest {
            model: "m".to_owned(),
            messages: messages.into(),
            tools: Arc::default(),
            has_fallback: false,
            parameters,
        };
        serde_json::from_slice(&encode(&request, Omitted::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_request_is_what_every_vendor_takes() {
        let call = ToolCall {
            id: "call_trn_01h455vb4pex5vsknk084sn02q_0_1".to_owned(),
            name: "no such tool!".to_owned(),
            arguments: "{}".to_owned(),
        };
        let request = ChatRequest {
            model: "m".to_owned(),
            messages: Arc::new([
                ChatMessage::System("s".to_owned()),
                ChatMessage::User("u".to_owned()),
                ChatMessage::Assistant { text: None, calls: vec![call.clone()], vendor: None },
                ChatMessage::Tool { call_id: call.id, content: "{}".to_owned() },
            ]),
            tools: Arc::new([ToolSpec {
                name: "find".to_owned(),
                description: "Finds".to_owned(),
                parameters: json!({"type": "object"}),
            }]),
            has_fallback: false,
            parameters: Map::new(),
        };

        let body: Value = serde_json::from_slice(&encode(&request, Omitted::default()).unwrap()).unwrap();

        let call = json!({
            "type": "function",
            "id": "call00000",
            "function": {"name": tool_schema::name("no such tool!"), "arguments": "{}"},
        });
        assert_eq!(
            body,
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call00000", "content": "{}"},
                ],
                "tools": [{
                    "type": "function",
                    "function": {
                        "name": "find",
                        "description": "Finds",
                        "parameters": {"type": "object", "properties": {}},
                    },
                }],
                "stream": true,
                "stream_options": {"include_usage": true},
            })
        );
    }

    #[test]
    fn parameters_are_passed_through_but_for_the_reserved_ones() {
        let body = encoded(vec![], json!({"temperature": 0.3, "model": "other", "tools": [], "x": {"y": 1}}));
        assert_eq!(body["temperature"], 0.3);
        assert_eq!(body["model"], "m");
        assert_eq!(body["x"], json!({"y": 1}));
        assert_eq!(body.get("tools"), None);

        let body = encoded(vec![], json!({"stream": false, "reasoning_effort": null}));
        assert_eq!(body["stream"], false);
        assert_eq!(body.get("stream_options"), None);
    }

    #[test]
    fn the_fields_of_a_vendor_go_back_where_they_were() {
        let fields = |json: Value| json.as_object().unwrap().clone();
        let call = ToolCall { id: "a".to_owned(), name: "find".to_owned(), arguments: "{}".to_owned() };
        let vendor = VendorFields {
            source: None,
            message: fields(json!({"reasoning_content": "Hm.", "role": "user"})),
            calls: vec![fields(json!({
                "extra_content": {"google": {"thought_signature": "x"}},
                "function": {"name": "pay", "thought": "y"},
            }))],
        };

        let body = encoded(
            vec![ChatMessage::Assistant { text: None, calls: vec![call], vendor: Some(vendor) }],
            json!({}),
        );

        assert_eq!(
            body["messages"][0],
            json!({
                "role": "assistant",
                "content": "",
                "reasoning_content": "Hm.",
                "tool_calls": [{
                    "type": "function",
                    "id": "call00000",
                    "extra_content": {"google": {"thought_signature": "x"}},
                    "function": {"name": "find", "arguments": "{}", "thought": "y"},
                }],
            })
        );
    }
}
