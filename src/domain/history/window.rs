//! How much of a history is sent. It is cut at positions that stay the same for
//! many turns, so that the beginning of what is sent does too, and a provider's
//! prefix cache holds.

use crate::domain::chat::ChatMessage;

use super::Exchange;

/// The most of a conversation that a model call carries, the system prompt and the
/// message that is answered not counted against it.
#[derive(Debug, Clone, Copy)]
pub struct HistoryBounds {
    pub max_messages: usize,
    /// Estimated: a token is taken to be four characters.
    pub max_tokens: usize,
}

/// What an exchange, or several, weigh.
#[derive(Clone, Copy, Default)]
struct Weight {
    messages: usize,
    tokens: usize,
}

/// The newest exchanges that fit. The last one always stays.
///
/// The cut is at a multiple of a block of positions: of the largest block that
/// still leaves half of what the bounds allow. So it moves seldom, and then far.
pub(super) fn newest(mut exchanges: Vec<Exchange>, bounds: HistoryBounds) -> Vec<Exchange> {
    let suffixes = suffix_weights(&exchanges);
    let fits = |weight: &Weight| weight.messages <= bounds.max_messages && weight.tokens <= bounds.max_tokens;
    let earliest = suffixes.iter().position(fits).unwrap_or(suffixes.len().saturating_sub(1));
    if earliest == 0 {
        return exchanges;
    }

    let is_half_full = |weight: &Weight| {
        weight.messages.saturating_mul(2) >= bounds.max_messages
            || weight.tokens.saturating_mul(2) >= bounds.max_tokens
    };
    let mut block = largest_block(bounds.max_messages);
    let cut = loop {
        let cut = first_block_start(&exchanges, earliest, block);
        match cut.filter(|cut| suffixes.get(*cut).is_some_and(is_half_full)) {
            Some(cut) => break cut,
            None if block <= 1 => break earliest,
            None => block /= 2,
        }
    };
    exchanges.split_off(cut)
}

/// For each exchange, what it and all later ones weigh, the very last not counted.
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

/// The first exchange, from `earliest` on, with which a block of positions begins.
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
        ChatMessage::Assistant { text, calls } => {
            let text_length = text.as_deref().map_or(0, |text| text.chars().count());
            let calls_length: usize =
                calls.iter().map(|call| call.name.len() + call.arguments.chars().count()).sum();
            text_length + calls_length
        }
        ChatMessage::Tool { content, .. } => content.chars().count(),
    };
    characters / 4 + PER_MESSAGE
}
