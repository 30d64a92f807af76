//! The newest messages of conversations. The positions of a conversation have no gaps, so its next position shows whether a list
//! has its newest message. A list without it is not used.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::ids::ConversationId;
use crate::domain::message::Message;

/// The size of all cached messages together, in bytes, roughly.
const MAX_BYTES: u64 = 32 << 20;
/// A conversation whose newest messages are larger is not cached.
const MAX_CONVERSATION_BYTES: u64 = 256 << 10;
const EXPECTED_CONVERSATIONS: usize = 4_000;
/// Messages beyond those of a history, for turns that wait while others arrive.
const EXTRA_MESSAGES: usize = 16;

/// Consecutive messages up to the newest known one.
type Tail = Arc<[Arc<Message>]>;

#[derive(Clone)]
struct Bytes;

impl Weighter<ConversationId, Tail> for Bytes {
    fn weight(&self, _: &ConversationId, tail: &Tail) -> u64 {
        tail.iter().map(|message| bytes(message)).sum()
    }
}

fn bytes(message: &Message) -> u64 {
    (size_of::<Message>() + message.content_bytes()) as u64
}

/// Cheap to clone.
#[derive(Clone)]
pub struct HistoryCache {
    tails: Arc<Cache<ConversationId, Tail, Bytes>>,
    /// How many messages a history has at most.
    max_messages: usize,
}

impl fmt::Debug for HistoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HistoryCache").field(&self.tails.len()).finish()
    }
}

impl HistoryCache {
    /// A cache for histories of at most `max_messages`.
    #[must_use]
    pub fn new(max_messages: usize) -> Self {
        let tails = Cache::with_weighter(EXPECTED_CONVERSATIONS, MAX_BYTES, Bytes);
        Self { tails: Arc::new(tails), max_messages }
    }

    /// The newest messages up to a position, and all later ones, in order; `None` unless they are known up to `next_position`.
    #[must_use]
    pub fn get(
        &self,
        conversation: ConversationId,
        up_to: i64,
        next_position: i64,
    ) -> Option<Vec<Arc<Message>>> {
        let tail = self.tails.get(&conversation)?;
        let (first, last) = (tail.first()?, tail.last()?);
        let earlier = tail.partition_point(|message| message.position <= up_to);
        let is_complete = first.position == 1 || earlier >= self.max_messages;
        if last.position + 1 < next_position || !is_complete {
            return None;
        }
        Some(tail[earlier.saturating_sub(self.max_messages)..].to_vec())
    }

    /// Stores the newest messages of a conversation, which were read in order and are its last ones.
    pub fn insert(&self, conversation: ConversationId, messages: &[Arc<Message>]) {
        if messages.iter().map(|message| bytes(message)).sum::<u64>() <= MAX_CONVERSATION_BYTES {
            self.tails.insert(conversation, messages.into());
        }
    }

    /// Drops the messages of a conversation that was deleted.
    pub fn forget(&self, conversation: ConversationId) {
        self.tails.remove(&conversation);
    }

    /// Adds a message that was committed. The list of a conversation begins with its first message, or is read by a turn.
    pub fn append(&self, message: Message) {
        let conversation = message.conversation;
        let tail = self.tails.get(&conversation).unwrap_or_default();
        let next = match tail.last() {
            Some(last) => last.position + 1,
            None if message.turn.is_none() => return,
            None => 1,
        };
        if message.position != next {
            // Another process wrote the messages in between.
            self.tails.remove(&conversation);
            return;
        }
        let oldest = (tail.len() + 1).saturating_sub(self.max_messages + EXTRA_MESSAGES);
        let messages: Vec<_> = tail[oldest..].iter().cloned().chain([Arc::new(message)]).collect();
        self.tails.remove(&conversation);
        self.insert(conversation, &messages);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Micros;
    use crate::domain::conversation::SenderType;
    use crate::domain::ids::{MessageId, TurnId, WorkspaceId};

    const CONVERSATION: ConversationId = ConversationId(Uuid::nil());

    fn message(position: i64, text: &str) -> Message {
        Message {
            workspace: WorkspaceId(Uuid::nil()),
            conversation: CONVERSATION,
            position,
            id: MessageId(Uuid::nil()),
            sender_type: SenderType::User,
            sender_id: String::new(),
            text: text.to_owned(),
            metadata: None,
            reply_to: None,
            answers: None,
            function_calls: None,
            is_truncated: false,
            is_stopped: false,
            earlier_texts: None,
            turn: Some(TurnId(Uuid::nil())),
            created_at: Micros(0),
            rating: None,
            rating_comment: None,
        }
    }

    fn positions(cache: &HistoryCache, up_to: i64, next_position: i64) -> Option<Vec<i64>> {
        let messages = cache.get(CONVERSATION, up_to, next_position)?;
        Some(messages.iter().map(|message| message.position).collect())
    }

    #[test]
    fn a_new_conversation_is_known_from_its_first_message() {
        let cache = HistoryCache::new(3);
        (1..=3).for_each(|position| cache.append(message(position, "")));

        assert_eq!(positions(&cache, 3, 4), Some(vec![1, 2, 3]));
        assert_eq!(positions(&cache, 1, 4), Some(vec![1, 2, 3]), "later replies follow");
        assert_eq!(positions(&cache, 3, 5), None, "another process wrote one more");
    }

    #[test]
    fn a_gap_forgets_the_conversation() {
        let cache = HistoryCache::new(3);
        cache.append(message(1, ""));
        cache.append(message(3, ""));

        assert_eq!(positions(&cache, 3, 4), None);
        cache.append(message(4, ""));
        assert_eq!(positions(&cache, 4, 5), None);
        cache.insert(CONVERSATION, &[2, 3, 4].map(|position| Arc::new(message(position, ""))));
        assert_eq!(positions(&cache, 4, 5), Some(vec![2, 3, 4]));
    }

    #[test]
    fn a_list_is_used_only_if_it_reaches_back_far_enough() {
        let cache = HistoryCache::new(3);
        cache.insert(CONVERSATION, &[5, 6, 7].map(|position| Arc::new(message(position, ""))));

        assert_eq!(positions(&cache, 7, 8), Some(vec![5, 6, 7]));
        assert_eq!(positions(&cache, 6, 8), None);
        cache.append(message(8, ""));
        assert_eq!(positions(&cache, 7, 9), Some(vec![5, 6, 7, 8]));
        assert_eq!(positions(&cache, 8, 9), Some(vec![6, 7, 8]));
    }

    #[test]
    fn lists_are_bounded_by_count_and_by_bytes() {
        let cache = HistoryCache::new(3);
        (1..=100).for_each(|position| cache.append(message(position, "")));
        assert_eq!(positions(&cache, 100, 101), Some(vec![98, 99, 100]));
        assert_eq!(cache.tails.get(&CONVERSATION).map(|tail| tail.len()), Some(3 + EXTRA_MESSAGES));

        cache.append(message(101, &"a".repeat(300 << 10)));
        assert_eq!(positions(&cache, 101, 102), None);
    }
}
