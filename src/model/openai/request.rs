//! The request, in the types of async-openai and in the form that every vendor accepts.

use std::collections::HashMap;

use async_openai::types::chat::{
    ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls, ChatCompletionRequestAssistantMessage,
    ChatCompletionRequestMessage, ChatCompletionRequestSystemMessage, ChatCompletionRequestToolMessage,
    ChatCompletionRequestUserMessage, ChatCompletionStreamOptions, ChatCompletionTool, ChatCompletionTools,
    CreateChatCompletionRequest, FunctionCall, FunctionObject,
};
use serde_json::{Map, Value};

use crate::domain::chat::{ChatMessage, ChatRequest, ModelError, ToolCall, ToolSpec};

/// Parameters that assistants cannot set.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "n"];
const MAX_NAME: usize = 64;

/// The body. A null parameter removes a field, for endpoints that do not know it; `stream = false` requests one JSON
/// object.
pub(super) fn encode(request: ChatRequest) -> Result<Vec<u8>, ModelError> {
    let parameters = request.parameters;
    let mut ids = CallIds::default();
    let body = CreateChatCompletionRequest {
        model: request.model,
        messages: request.messages.into_iter().map(|message| encode_message(message, &mut ids)).collect(),
        tools: Some(request.tools.into_iter().map(encode_tool).collect())
            .filter(|tools: &Vec<_>| !tools.is_empty()),
        stream: Some(true),
        stream_options: Some(ChatCompletionStreamOptions {
            include_usage: Some(true),
            include_obfuscation: None,
        }),
        ..CreateChatCompletionRequest::default()
    };

    let body = serde_json::to_value(body).map_err(|_| ModelError::Refused)?;
    let Value::Object(mut body) = body else { return Err(ModelError::Refused) };
    merge(&mut body, parameters);
    serde_json::to_vec(&body).map_err(|_| ModelError::Refused)
}

fn merge(body: &mut Map<String, Value>, parameters: Map<String, Value>) {
    for (key, value) in parameters {
        if !RESERVED.contains(&key.as_str()) {
            body.insert(key, value);
        }
    }
    if body.get("stream") == Some(&Value::Bool(false)) {
        body.remove("stream_options");
    }
    body.retain(|_, value| !value.is_null());
}

/// Call ids, numbered in order of appearance: nine letters and digits, the form that every vendor accepts. The same
/// history always gets the same ids.
#[derive(Default)]
struct CallIds {
    assigned: HashMap<String, String>,
}

impl CallIds {
    fn assign(&mut self, id: String) -> String {
        let number = self.assigned.len();
        self.assigned.entry(id).or_insert_with(|| format!("call{number:05}")).clone()
    }
}

fn encode_message(message: ChatMessage, ids: &mut CallIds) -> ChatCompletionRequestMessage {
    match message {
        ChatMessage::System(text) => {
            ChatCompletionRequestSystemMessage { content: text.into(), name: None }.into()
        }
        ChatMessage::User(text) => {
            ChatCompletionRequestUserMessage { content: text.into(), name: None }.into()
        }
        ChatMessage::Assistant { text, calls } => {
            let calls: Vec<_> = calls.into_iter().map(|call| encode_call(call, ids)).collect();
            ChatCompletionRequestAssistantMessage {
                content: text.map(Into::into),
                tool_calls: Some(calls).filter(|calls| !calls.is_empty()),
                ..ChatCompletionRequestAssistantMessage::default()
            }
            .into()
        }
        ChatMessage::Tool { call_id, content } => {
            ChatCompletionRequestToolMessage { content: content.into(), tool_call_id: ids.assign(call_id) }
                .into()
        }
    }
}

fn encode_call(call: ToolCall, ids: &mut CallIds) -> ChatCompletionMessageToolCalls {
    ChatCompletionMessageToolCalls::Function(ChatCompletionMessageToolCall {
        id: ids.assign(call.id),
        function: FunctionCall { name: sanitize_name(&call.name), arguments: call.arguments },
    })
}

/// A name that a model made up may be invalid in a request.
fn sanitize_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String = name.chars().take(MAX_NAME).map(|c| if fits(c) { c } else { '_' }).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

fn encode_tool(tool: ToolSpec) -> ChatCompletionTools {
    ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: tool.name,
            description: Some(tool.description).filter(|text| !text.is_empty()),
            parameters: Some(tool.parameters),
            strict: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(messages: Vec<ChatMessage>, parameters: Value) -> Value {
        let Value::Object(parameters) = parameters else { panic!("no object") };
        let request = ChatRequest { model: "m".to_owned(), messages, tools: vec![], parameters };
        serde_json::from_slice(&encode(request).unwrap()).unwrap()
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
            messages: vec![
                ChatMessage::System("s".to_owned()),
                ChatMessage::User("u".to_owned()),
                ChatMessage::Assistant { text: None, calls: vec![call.clone()] },
                ChatMessage::Tool { call_id: call.id, content: "{}".to_owned() },
            ],
            tools: vec![ToolSpec {
                name: "find".to_owned(),
                description: "Finds".to_owned(),
                parameters: json!({"type": "object"}),
            }],
            parameters: Map::new(),
        };

        let body: Value = serde_json::from_slice(&encode(request).unwrap()).unwrap();

        let call = json!({
            "type": "function",
            "id": "call00000",
            "function": {"name": "no_such_tool_", "arguments": "{}"},
        });
        assert_eq!(
            body,
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call00000", "content": "{}"},
                ],
                "tools": [{
                    "type": "function",
                    "function": {
                        "name": "find",
                        "description": "Finds",
                        "parameters": {"type": "object"},
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
}
