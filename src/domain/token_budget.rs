//! Budgets of model tokens: the most that a conversation, and a workspace on a day, may use.

use std::num::NonZeroU64;

use super::chat::{ChatMessage, ModelErrorKind, Part, Usage};

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
    estimate(bytes.saturating_add(tool_bytes))
}

/// The tokens of a model call, counted as its response arrives: a call that fails or is broken off has used what came until then.
#[derive(Clone, Copy, Debug)]
pub struct CallTokens {
    estimated_input: i64,
    reported: Usage,
    output_bytes: usize,
}

impl CallTokens {
    /// A call whose response has not begun.
    #[must_use]
    pub fn new(estimated_input: i64) -> Self {
        Self { estimated_input, reported: Usage::default(), output_bytes: 0 }
    }

    pub fn add(&mut self, part: &Part) {
        match part {
            Part::Text(piece) | Part::Thoughts(piece) => self.output_bytes += piece.len(),
            Part::Call { name, arguments, .. } => {
                self.output_bytes += name.as_ref().map_or(0, String::len) + arguments.len();
            }
            Part::Usage(reported) => self.reported = *reported,
            Part::Vendor { .. } | Part::Finished { .. } => {}
        }
    }

    /// The tokens until now: as the model reported them, and estimated where it did not.
    #[must_use]
    pub fn sum(&self) -> i64 {
        let Usage { input, output, .. } = self.reported;
        let input = if input > 0 { input } else { self.estimated_input };
        let output = if output > 0 { output } else { estimate(self.output_bytes) };
        input.saturating_add(output)
    }

    /// The tokens of a call that failed: none if the model sent nothing and did not work on the request.
    #[must_use]
    pub fn sum_of_failed(&self, kind: ModelErrorKind) -> i64 {
        let has_response = self.output_bytes > 0 || self.reported != Usage::default();
        if has_response || kind.uses_tokens() { self.sum() } else { 0 }
    }
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

fn estimate(bytes: usize) -> i64 {
    i64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let input = estimate_input(&request, 81);
        let mut tokens = CallTokens::new(input);

        assert_eq!((input, tokens.sum()), (51, 51));
        tokens.add(&Part::Text("x".repeat(31)));
        tokens.add(&Part::Thoughts("x".to_owned()));
        let (id, name) = (Some("a".to_owned()), Some("find".to_owned()));
        tokens.add(&Part::Call { index: 0, id, name, arguments: "{}  ".to_owned() });
        assert_eq!(tokens.sum(), 51 + 10);
        tokens.add(&Part::Usage(Usage { input: 7, ..Usage::default() }));
        assert_eq!(tokens.sum(), 7 + 10);
        tokens.add(&Part::Usage(Usage { input: 7, output: 3, ..Usage::default() }));
        tokens.add(&Part::Finished { is_truncated: false });
        assert_eq!(tokens.sum(), 10);
        tokens.add(&Part::Usage(Usage { input: i64::MAX, output: i64::MAX, ..Usage::default() }));
        assert_eq!(tokens.sum(), i64::MAX);
    }

    #[test]
    fn a_failed_call_has_used_what_the_model_sent() {
        let mut tokens = CallTokens::new(5);

        assert_eq!(tokens.sum_of_failed(ModelErrorKind::Refused), 0);
        assert_eq!(tokens.sum_of_failed(ModelErrorKind::Timeout), 5);
        tokens.add(&Part::Text("x".repeat(400)));
        assert_eq!(tokens.sum_of_failed(ModelErrorKind::Unavailable), 105);
        assert_eq!(tokens.sum_of_failed(ModelErrorKind::TooSlow), 105);
    }
}
