//! Selects the part of a history that is sent. The window moves in blocks, so that the prefix of the request stays
//! the same for many turns and the prefix cache of a provider applies.

use serde_json::json;

use crate::domain::chat::ChatMessage;

use super::Exchange;

/// No result is shortened to less, in bytes.
const MIN_RESULT: usize = 256;

/// The limits of a history, without the system prompt and the message that is answered.
#[derive(Debug, Clone, Copy)]
pub struct HistoryBounds {
    pub max_messages: usize,
    /// Estimated at four characters for each token.
    pub max_tokens: usize,
}

impl HistoryBounds {
    /// The most bytes of messages that are loaded for a history, and at least 1 MiB: four characters for each token, which have at
    /// most four bytes each.
    pub fn max_bytes(self) -> usize {
        const MIN_BYTES: usize = 1024 * 1024;
        self.max_tokens.saturating_mul(16).max(MIN_BYTES)
    }
}

/// The size of one or more exchanges.
#[derive(Clone, Copy, Default)]
struct Weight {
    messages: usize,
    tokens: usize,
}

/// Shortens the results of calls that would take more than a quarter of the window, so that they do not push their whole
/// exchange out of it. The last exchange is left as it is.
pub(super) fn shorten_results(exchanges: &mut [Exchange], bounds: HistoryBounds) {
    let Some((_, earlier)) = exchanges.split_last_mut() else { return };
    for exchange in earlier {
        let results = exchange.messages.iter_mut().filter_map(|message| match message {
            ChatMessage::Tool { content, .. } => Some(content),
            ChatMessage::System(_) | ChatMessage::User(_) | ChatMessage::Assistant { .. } => None,
        });
        let results: Vec<&mut String> = results.collect();
        // A token has four characters.
        let max = (bounds.max_tokens / results.len().max(1)).max(MIN_RESULT);
        for content in results.into_iter().filter(|content| content.len() > max) {
            let end = content.floor_char_boundary(max);
            let note = format!("{} bytes were left out", content.len() - end);
            *content = json!({ "beginning_of_result": content[..end], "note": note }).to_string();
        }
    }
}

/// The first of the newest exchanges that fit; at most the last one.
///
/// The window starts at a multiple of the largest block of positions that still leaves half of the bounds, so it
/// moves seldom and then far.
pub(super) fn start(exchanges: &[Exchange], bounds: HistoryBounds) -> usize {
    let suffixes = suffix_weights(exchanges);
    let fits = |weight: &Weight| weight.messages <= bounds.max_messages && weight.tokens <= bounds.max_tokens;
    let earliest = suffixes.iter().position(fits).unwrap_or(suffixes.len().saturating_sub(1));
    if earliest == 0 {
        return 0;
    }

    let is_half_full = |weight: &Weight| {
        weight.messages.saturating_mul(2) >= bounds.max_messages
            || weight.tokens.saturating_mul(2) >= bounds.max_tokens
    };
    let mut block = largest_block(bounds.max_messages);
    loop {
        let cut = first_block_start(exchanges, earliest, block);
        match cut.filter(|cut| suffixes.get(*cut).is_some_and(is_half_full)) {
            Some(cut) => return cut,
            None if block <= 1 => return earliest,
            None => block /= 2,
        }
    }
}

/// For each exchange, the size of it and all later ones, except the last.
fn suffix_weights(exchanges: &[Exchange]) -> Vec<Weight> {
    let mut total = Weight::default();
    let mut weights: Vec<Weight> = exchanges
        .iter()
        .rev()
        .enumerate()
        .map(|(from_end, exchange)| {
            if from_end > 0 {
                total.messages = total.messages.saturating_add(exchange.messages.len());
                total.tokens =
                    total.tokens.saturating_add(exchange.messages.iter().map(estimate_tokens).sum());
            }
            total
        })
        .collect();
    weights.reverse();
    weights
}

/// The first exchange, from `earliest` on, that starts a block of positions.
fn first_block_start(exchanges: &[Exchange], earliest: usize, block: i64) -> Option<usize> {
    let block_of = |exchange: &Exchange| exchange.position.div_euclid(block.max(1));
    (earliest.max(1)..exchanges.len()).find(|index| {
        let before = exchanges.get(index - 1).map(block_of);
        before != exchanges.get(*index).map(block_of)
    })
}

fn largest_block(max_messages: usize) -> i64 {
    let half = i64::try_from(max_messages / 2).unwrap_or(i64::MAX);
    let mut block: i64 = 1;
    while block <= half / 2 {
        block *= 2;
    }
    block
}

fn estimate_tokens(message: &ChatMessage) -> usize {
    const PER_MESSAGE: usize = 4;
    let characters = match message {
        ChatMessage::System(text) | ChatMessage::User(text) => text.chars().count(),
        ChatMessage::Assistant { text, calls, .. } => {
            let text_length = text.as_deref().map_or(0, |text| text.chars().count());
            let calls_length: usize =
                calls.iter().map(|call| call.name.len() + call.arguments.chars().count()).sum();
            text_length + calls_length
        }
        ChatMessage::Tool { content, .. } => content.chars().count(),
    };
    characters / 4 + PER_MESSAGE
}
