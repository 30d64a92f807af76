//! How messages are found. Each message has terms: the words of its text, case-folded and without accents, and one term for each of
//! its other properties that a filter may name. A message matches if it has all terms of the filter, on both databases alike.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::clock::TimeRange;
use super::conversation::SenderType;
use super::ids::{ConversationId, WorkspaceId};
use super::knowledge::{Language, document_terms, query_terms};
use super::message::Message;

/// The numbers of a block. A statement searches one block, whose term keeps its cost independent of all other messages.
pub const BLOCK: i64 = 16_384;
/// The most different words of a message that are indexed. PostgreSQL indexes at most 1 MiB of them.
const MAX_WORDS: usize = 10_000;

/// A filter of messages. Absent fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// A message has all of them.
    pub terms: BTreeSet<String>,
    /// The searched text has no words, so no message matches.
    pub matches_none: bool,
    pub conversation: Option<ConversationId>,
    pub created: TimeRange,
    /// The number of the last message of the previous page.
    pub before_number: Option<i64>,
}

impl MessageFilter {
    /// Only messages that have all words of a text.
    pub fn add_text(&mut self, text: &str) {
        let words = query_terms(text, Language::Simple);
        self.matches_none |= words.is_empty();
        self.terms.extend(words);
    }

    /// Only messages of senders of a type.
    pub fn add_sender_type(&mut self, sender_type: SenderType) {
        self.terms.insert(sender_type_term(sender_type));
    }

    /// Only messages of a sender.
    pub fn add_sender(&mut self, sender: &str) {
        self.terms.insert(sender_term(sender));
    }

    /// Only messages whose metadata has this string under this key.
    pub fn add_metadata(&mut self, key: &str, value: &str) {
        self.terms.insert(metadata_term(key, value));
    }
}

/// The terms of a message, separated by spaces, with those of its conversation and of the block of its number.
#[must_use]
pub fn message_terms(message: &Message, number: i64) -> String {
    let mut terms: BTreeSet<String> = BTreeSet::new();
    for word in document_terms(&message.text, Language::Simple) {
        if terms.len() == MAX_WORDS {
            break;
        }
        terms.insert(word);
    }
    terms.insert(sender_type_term(message.sender_type));
    terms.insert(sender_term(&message.sender_id));
    let metadata: Map<String, Value> =
        message.metadata.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    terms.extend(metadata.iter().filter_map(|(key, value)| Some(metadata_term(key, value.as_str()?))));
    terms.insert(conversation_term(message.conversation));
    terms.insert(block_term(message.workspace, number));
    terms.into_iter().collect::<Vec<_>>().join(" ")
}

/// The term that only messages of this block have. Like all of these it is longer than any word, so no text contains it.
#[must_use]
pub fn block_term(workspace: WorkspaceId, number: i64) -> String {
    format!("block{}number{:012}", workspace.0.simple(), number.div_euclid(BLOCK))
}

/// The term that only messages of this conversation have.
#[must_use]
pub fn conversation_term(conversation: ConversationId) -> String {
    format!("messageinconversation{}", conversation.0.simple())
}

fn sender_type_term(sender_type: SenderType) -> String {
    property_term("sendertype", &[sender_type.as_str()])
}

fn sender_term(sender: &str) -> String {
    property_term("sender", &[sender])
}

fn metadata_term(key: &str, value: &str) -> String {
    property_term("metadata", &[key, value])
}

/// A digest, because a value may be of any length and have any character.
fn property_term(name: &str, values: &[&str]) -> String {
    let mut hash = Sha256::new();
    for value in values {
        hash.update(value.len().to_be_bytes());
        hash.update(value.as_bytes());
    }
    let mut term = name.to_owned();
    for byte in hash.finalize() {
        let _ = write!(term, "{byte:02x}");
    }
    term
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Micros;
    use crate::domain::ids::MessageId;

    fn message(text: &str, metadata: Option<&str>) -> Message {
        Message {
            workspace: WorkspaceId(Uuid::nil()),
            conversation: ConversationId(Uuid::nil()),
            position: 1,
            id: MessageId(Uuid::nil()),
            sender_type: SenderType::User,
            sender_id: "usr_1".to_owned(),
            text: text.to_owned(),
            metadata: metadata.map(str::to_owned),
            reply_to: None,
            answers: None,
            function_calls: None,
            is_truncated: false,
            is_stopped: false,
            earlier_texts: None,
            turn: None,
            created_at: Micros(0),
            rating: None,
            rating_comment: None,
        }
    }

    fn matches(message: &Message, add: impl FnOnce(&mut MessageFilter)) -> bool {
        let mut filter = MessageFilter::default();
        add(&mut filter);
        let terms = message_terms(message, 1);
        let terms: BTreeSet<&str> = terms.split(' ').collect();
        !filter.matches_none && filter.terms.iter().all(|term| terms.contains(term.as_str()))
    }

    #[test]
    fn a_message_matches_all_words_in_any_form_of_their_letters() {
        let message = message("Wo ist die Rückgabe der BESTELLUNG 1042? 退货", None);

        for text in ["ruckgabe", "Bestellung Rückgabe", "1042", "退货", "bestellung!!! \" OR *"] {
            let found = matches(&message, |filter| filter.add_text(text));
            assert_eq!(found, !text.contains("OR"), "{text}");
        }
        for text in ["Bestell", "Rückgabe Lieferung", "", "😀", "\"'*()"] {
            assert!(!matches(&message, |filter| filter.add_text(text)), "{text}");
        }
    }

    #[test]
    fn properties_match_exactly_and_are_no_words() {
        let message = message("sender user", Some(r#"{"plan": "pro", "seats": 5, "é": "\u00e9"}"#));

        assert!(matches(&message, |filter| filter.add_sender("usr_1")));
        assert!(!matches(&message, |filter| filter.add_sender("usr_10")));
        assert!(matches(&message, |filter| filter.add_sender_type(SenderType::User)));
        assert!(!matches(&message, |filter| filter.add_sender_type(SenderType::Agent)));
        assert!(matches(&message, |filter| filter.add_metadata("plan", "pro")));
        assert!(matches(&message, |filter| filter.add_metadata("é", "é")));
        for (key, value) in [("plan", "PRO"), ("plan", "pr"), ("seats", "5"), ("planp", "ro"), ("", "")] {
            assert!(!matches(&message, |filter| filter.add_metadata(key, value)), "{key}={value}");
        }
        assert!(!matches(&message, |filter| filter.add_text(&sender_term("usr_1"))));
    }

    #[test]
    fn a_long_message_has_a_bounded_number_of_terms() {
        let mut text = String::new();
        for number in 0..50_000 {
            let _ = write!(text, "w{number} ");
        }

        let terms = message_terms(&message(&text, None), 1);

        assert!(terms.split(' ').count() <= MAX_WORDS + 4);
    }

    #[test]
    fn a_block_has_a_term_of_its_own() {
        let (one, other) = (WorkspaceId(Uuid::nil()), WorkspaceId(Uuid::from_u128(1)));

        assert_eq!(block_term(one, 1), block_term(one, BLOCK - 1));
        assert_ne!(block_term(one, BLOCK - 1), block_term(one, BLOCK));
        assert_ne!(block_term(one, 1), block_term(other, 1));
    }
}
