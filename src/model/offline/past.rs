//! What the messages say about calls that were made: their results, the times that
//! were offered, the appointments that stand.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::chat::{ChatMessage, ToolCall};

/// A call and its result, as the model is shown them.
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) result: Value,
}

pub(super) struct Past {
    seen: Vec<Seen>,
}

impl Past {
    pub(super) fn read(messages: &[ChatMessage]) -> Self {
        let mut calls: HashMap<&str, &ToolCall> = HashMap::new();
        let mut seen = Vec::new();
        for message in messages {
            match message {
                ChatMessage::Assistant { calls: asked, .. } => {
                    calls.extend(asked.iter().map(|call| (call.id.as_str(), call)));
                }
                ChatMessage::Tool { call_id, content } => {
                    if let Some(call) = calls.remove(call_id.as_str()) {
                        seen.push(Seen {
                            name: call.name.clone(),
                            arguments: serde_json::from_str(&call.arguments).unwrap_or_default(),
                            result: serde_json::from_str(content).unwrap_or_default(),
                        });
                    }
                }
                ChatMessage::System(_) | ChatMessage::User(_) => {}
            }
        }
        Self { seen }
    }

    pub(super) fn into_results(self) -> Vec<Seen> {
        self.seen
    }

    /// The slots that were offered last.
    pub(super) fn offered_slots(&self) -> Vec<String> {
        let offers = self.seen.iter().rev().map(|seen| slots_of(&seen.result));
        offers.into_iter().find(|slots| !slots.is_empty()).unwrap_or_default()
    }

    /// The bookings that were made and not cancelled since, oldest first.
    pub(super) fn bookings(&self) -> impl DoubleEndedIterator<Item = &str> {
        let cancelled = |id: &str| {
            self.seen.iter().any(|seen| {
                seen.arguments.get("booking_id").and_then(Value::as_str) == Some(id)
                    && seen.result.get("success") == Some(&Value::Bool(true))
            })
        };
        let made = self.seen.iter().filter_map(|seen| seen.result.get("booking_id")?.as_str());
        made.filter(move |id| !cancelled(id))
    }
}

/// `available_slots`: `YYYY-MM-DD HH:MM`, some with an offset behind.
pub(super) fn slots_of(result: &Value) -> Vec<String> {
    let slots = result.get("available_slots").and_then(Value::as_array);
    slots.into_iter().flatten().filter_map(|slot| slot.as_str().map(str::to_owned)).collect()
}
