//! Budgets of model tokens: the most that a conversation, and a workspace on a day, may use.

use std::num::NonZeroU64;

use super::chat::{ChatMessage, ModelAnswer};

/// A token has about four bytes.
const BYTES_PER_TOKEN: usize = 4;

/// The most tokens, input and output together. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBudgets {
    /// Of a conversation, for its whole life.
    pub per_conversation: Option<i64>,
    /// Of all conversations of a workspace on a day (UTC).
    pub per_day: Option<i64>,
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExhaustedBudget {
    Conversation,
    Day,
}

impl TokenBudgets {
    pub const UNLIMITED: Self = Self { per_conversation: None, per_day: None };

    /// Budgets as they are configured.
    #[must_use]
    pub fn new(per_conversation: Option<NonZeroU64>, per_day: Option<NonZeroU64>) -> Self {
        let tokens = |budget: NonZeroU64| i64::try_from(budget.get()).unwrap_or(i64::MAX);
        Self { per_conversation: per_conversation.map(tokens), per_day: per_day.map(tokens) }
    }

    /// The lower budget of each kind.
    #[must_use]
    pub fn lowest(self, other: Self) -> Self {
        Self {
            per_conversation: self.per_conversation.into_iter().chain(other.per_conversation).min(),
            per_day: self.per_day.into_iter().chain(other.per_day).min(),
        }
    }

    /// The budget that is used up, if one is: with it, no model may be called.
    #[must_use]
    pub fn exhausted_by(self, of_conversation: i64, of_day: i64) -> Option<ExhaustedBudget> {
        let is_reached = |budget: Option<i64>, tokens| budget.is_some_and(|budget| tokens >= budget);
        if is_reached(self.per_conversation, of_conversation) {
            Some(ExhaustedBudget::Conversation)
        } else if is_reached(self.per_day, of_day) {
            Some(ExhaustedBudget::Day)
        } else {
            None
        }
    }
}

/// The tokens of a request, estimated from its messages and the bytes of its tools.
#[must_use]
pub fn estimate_input(messages: &[ChatMessage], tool_bytes: usize) -> i64 {
    let bytes: usize = messages.iter().map(message_bytes).sum();
    tokens_of(bytes.saturating_add(tool_bytes))
}

/// The tokens that an answer cost: as its model reported them, and estimated where it did not.
#[must_use]
pub fn tokens_used(answer: &ModelAnswer, estimated_input: i64) -> i64 {
    let usage = answer.usage;
    let input = if usage.input > 0 { usage.input } else { estimated_input };
    let output = if usage.output > 0 { usage.output } else { estimate_output(answer) };
    input.saturating_add(output)
}

fn estimate_output(answer: &ModelAnswer) -> i64 {
    let texts = [&answer.text, &answer.thoughts];
    let text_bytes: usize = texts.into_iter().flatten().map(String::len).sum();
    let call_bytes: usize = answer.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
    tokens_of(text_bytes + call_bytes)
}

fn message_bytes(message: &ChatMessage) -> usize {
    match message {
        ChatMessage::System(text) | ChatMessage::User(text) | ChatMessage::Tool { content: text, .. } => {
            text.len()
        }
        ChatMessage::Assistant { text, calls, .. } => {
            let call_bytes: usize = calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
            text.as_ref().map_or(0, String::len) + call_bytes
        }
    }
}

/// At least one, so that no call is free.
fn tokens_of(bytes: usize) -> i64 {
    i64::try_from(bytes / BYTES_PER_TOKEN + 1).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{ToolCall, Usage};

    #[test]
    fn the_lower_budget_applies() {
        let server = TokenBudgets { per_conversation: Some(100), per_day: None };
        let file = TokenBudgets { per_conversation: Some(200), per_day: Some(300) };

        let budgets = server.lowest(file);

        assert_eq!(budgets, TokenBudgets { per_conversation: Some(100), per_day: Some(300) });
        assert_eq!(TokenBudgets::UNLIMITED.lowest(file), file);
        assert_eq!(budgets.exhausted_by(99, 299), None);
        assert_eq!(budgets.exhausted_by(100, 0), Some(ExhaustedBudget::Conversation));
        assert_eq!(budgets.exhausted_by(0, 300), Some(ExhaustedBudget::Day));
        assert_eq!(TokenBudgets::UNLIMITED.exhausted_by(i64::MAX, i64::MAX), None);
    }

    #[test]
    fn tokens_that_a_model_does_not_report_are_estimated() {
        let request = [
            ChatMessage::System("x".repeat(40)),
            ChatMessage::Assistant { text: Some("x".repeat(40)), calls: Vec::new(), vendor: None },
            ChatMessage::Tool { call_id: String::new(), content: "x".repeat(40) },
        ];
        let call = ToolCall { id: "a".to_owned(), name: "find".to_owned(), arguments: "{}  ".to_owned() };
        let mut answer =
            ModelAnswer { text: Some("x".repeat(32)), calls: vec![call], ..ModelAnswer::default() };

        let input = estimate_input(&request, 80);

        assert_eq!(input, 51);
        assert_eq!(tokens_used(&answer, input), 51 + 11);
        answer.usage = Usage { input: 7, ..Usage::default() };
        assert_eq!(tokens_used(&answer, input), 7 + 11);
        answer.usage.output = 3;
        assert_eq!(tokens_used(&answer, input), 10);
        answer.usage = Usage { input: i64::MAX, output: i64::MAX, ..Usage::default() };
        assert_eq!(tokens_used(&answer, input), i64::MAX);
        assert_eq!(tokens_used(&ModelAnswer::default(), 1), 2);
    }
}
