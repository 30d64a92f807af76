//! Reads earlier calls from the messages: results, offered times, bookings.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::chat::{ChatMessage, ToolCall};

/// A call and its result as the model sees them.
pub(super) struct CompletedCall {
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) result: Value,
}

pub(super) struct CallHistory {
    completed: Vec<CompletedCall>,
}

impl CallHistory {
    pub(super) fn read(messages: &[ChatMessage]) -> Self {
        let mut calls: HashMap<&str, &ToolCall> = HashMap::new();
        let mut completed = Vec::new();
        for message in messages {
            match message {
                ChatMessage::Assistant { calls: requested, .. } => {
                    calls.extend(requested.iter().map(|call| (call.id.as_str(), call)));
                }
                ChatMessage::Tool { call_id, content } => {
                    if let Some(call) = calls.remove(call_id.as_str()) {
                        completed.push(CompletedCall {
                            name: call.name.clone(),
                            arguments: serde_json::from_str(&call.arguments).unwrap_or_default(),
                            result: serde_json::from_str(content).unwrap_or_default(),
                        });
                    }
                }
                ChatMessage::System(_) | ChatMessage::User(_) => {}
            }
        }
        Self { completed }
    }

    pub(super) fn into_results(self) -> Vec<CompletedCall> {
        self.completed
    }

    /// The slots that were offered last.
    pub(super) fn offered_slots(&self) -> Vec<String> {
        let offers = self.completed.iter().rev().map(|call| slots_of(&call.result));
        offers.into_iter().find(|slots| !slots.is_empty()).unwrap_or_default()
    }

    /// The bookings that were made and not cancelled, oldest first.
    pub(super) fn bookings(&self) -> impl DoubleEndedIterator<Item = &str> {
        let cancelled = |id: &str| {
            self.completed.iter().any(|call| {
                call.arguments.get("booking_id").and_then(Value::as_str) == Some(id)
                    && call.result.get("success") == Some(&Value::Bool(true))
            })
        };
        let made = self.completed.iter().filter_map(|call| call.result.get("booking_id")?.as_str());
        made.filter(move |id| !cancelled(id))
    }
}

/// `available_slots`: `YYYY-MM-DD HH:MM`, some followed by an offset.
pub(super) fn slots_of(result: &Value) -> Vec<String> {
    let slots = result.get("available_slots").and_then(Value::as_array);
    slots.into_iter().flatten().filter_map(|slot| slot.as_str().map(str::to_owned)).collect()
}
