//! Deliveries: an event on its way to a webhook endpoint. What an endpoint's answer
//! means, and when a delivery that failed is tried again.

use std::time::Duration;

use super::chat::clean_text;
use super::clock::Micros;
use super::ids::{DeliveryId, EndpointId, EventId, WorkspaceId};
use super::retry::spread;
use super::words::words;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// The pauses after a round's first, second, … failed attempt, in seconds; after the last one there is none.
const PAUSES: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// What an endpoint may ask for instead.
const SHORTEST_WISH: Duration = Duration::from_secs(1);
const LONGEST_WISH: Duration = Duration::from_hours(1);
/// After so many attempts of a round it may only ask for a longer pause: short ones would use up the round.
const MAY_SHORTEN: i64 = 2;

/// How long a delivery waits for an earlier one of its conversation at its endpoint that is to be tried
/// again, counted from that one's event.
pub const KEEPS_ORDER: Duration = Duration::from_secs(30);

/// How much of an answer's body is kept, in bytes.
pub const MAX_EXCERPT: usize = 2 * 1024;

words! {
    /// Where a delivery stands.
    DeliveryState {
        /// May be claimed, from `not_before` on.
        Queued = "queued",
        /// Owned by a process.
        Running = "running",
        /// Answered with a 2xx.
        Delivered = "delivered",
        /// Every attempt of the schedule failed.
        Failed = "failed",
        /// Not to be sent any more: its endpoint, its conversation or its event is gone.
        Closed = "closed",
    }
}

words! {
    /// How an attempt ended.
    AttemptOutcome {
        /// A 2xx.
        Delivered = "delivered",
        /// A 3xx, which is never followed.
        Redirected = "redirected",
        /// A 410: the endpoint wants no more.
        Gone = "gone",
        /// Another status.
        Refused = "refused",
        /// No answer in time.
        TimedOut = "timed_out",
        /// No such name, nobody listens, or TLS failed.
        Unreachable = "unreachable",
        /// The connection broke before an answer.
        Broken = "broken",
        /// Not sent: the URL may not be called.
        Blocked = "blocked",
        /// Not sent: the endpoint's secret cannot be opened.
        Unsigned = "unsigned",
    }
}

impl AttemptOutcome {
    /// What an answer with this status means.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            300..=399 => Self::Redirected,
            410 => Self::Gone,
            _ => Self::Refused,
        }
    }
}

/// Which delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    /// Of its event.
    pub cursor: i64,
}

/// A delivery that a process owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub key: DeliveryKey,
    pub id: DeliveryId,
    /// Rises by one with every claim, takeover, hand-back and end of an attempt.
    pub fence: i64,
    /// Made so far.
    pub attempts: i64,
    /// Of these, those of earlier rounds: a resend begins the schedule anew.
    pub attempts_before: i64,
    /// Sent again by request, and says so.
    pub replay: bool,
}

/// An event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    pub workspace: WorkspaceId,
    pub cursor: i64,
    pub id: EventId,
    /// The same bytes each time.
    pub body: String,
    /// Its conversation has been deleted since: it is not to be sent.
    pub is_withheld: bool,
}

/// An attempt that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub started_at: Micros,
    pub finished_at: Micros,
    pub outcome: AttemptOutcome,
    pub status: Option<u16>,
    /// How the answer's body begins, at most [`MAX_EXCERPT`] bytes.
    pub excerpt: Option<String>,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// Tried again after this pause.
    Again(Duration),
    Failed,
}

/// What follows from the `attempt`th attempt of a round (from 1). `asked` is a `Retry-After`, which
/// replaces the pause, within bounds, and from the third attempt on only lengthens it; `random` spreads those that failed together.
#[must_use]
pub fn next(outcome: AttemptOutcome, attempt: i64, asked: Option<Duration>, random: u32) -> Next {
    if outcome == AttemptOutcome::Delivered {
        return Next::Delivered;
    }
    let pause = usize::try_from(attempt.max(1) - 1).ok().and_then(|index| PAUSES.get(index));
    let Some(pause) = pause.map(|pause| spread(Duration::from_secs(*pause), random)) else {
        return Next::Failed;
    };
    match asked.map(|asked| asked.clamp(SHORTEST_WISH, LONGEST_WISH)) {
        Some(asked) if attempt <= MAY_SHORTEN => Next::Again(asked),
        Some(asked) => Next::Again(asked.max(pause)),
        None => Next::Again(pause),
    }
}

/// The end of a process's hold on a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub key: DeliveryKey,
    /// As it was claimed: who was overtaken changes nothing.
    pub fence: i64,
    pub end: End,
}

/// How a hold on a delivery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Attempted(Attempt, Next),
    /// For whoever claims it, with no attempt counted.
    HandedBack,
    /// There is nothing to send any more.
    Closed,
}

/// How an answer's body begins, as it is kept.
#[must_use]
pub fn excerpt(body: &[u8]) -> Option<String> {
    let begin = &body[..body.len().min(MAX_EXCERPT)];
    let text = String::from_utf8_lossy(begin);
    // A character that was cut in two is not half kept, and what replaces it takes more bytes.
    let mut end = text.len().min(MAX_EXCERPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = clean_text(text[..end].trim_end_matches('\u{fffd}').to_owned());
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_2xx_is_a_success() {
        for (status, outcome) in [
            (200, AttemptOutcome::Delivered),
            (299, AttemptOutcome::Delivered),
            (302, AttemptOutcome::Redirected),
            (404, AttemptOutcome::Refused),
            (410, AttemptOutcome::Gone),
            (429, AttemptOutcome::Refused),
            (500, AttemptOutcome::Refused),
            (101, AttemptOutcome::Refused),
        ] {
            assert_eq!(AttemptOutcome::of_status(status), outcome, "{status}");
        }
        assert_eq!(next(AttemptOutcome::Delivered, 10, None, 0), Next::Delivered);
    }

    #[test]
    fn the_pauses_are_the_schedules_and_end_after_the_tenth_attempt() {
        let seconds = |attempt| match next(AttemptOutcome::Refused, attempt, None, 512) {
            Next::Again(pause) => Some(pause.as_secs()),
            Next::Delivered | Next::Failed => None,
        };

        let pauses: Vec<_> = (1..=10).map(seconds).collect();

        let hours = |hours: u64| Some(hours * 3600);
        let long = [2, 5, 10, 14, 20, 24].map(hours);
        assert_eq!(pauses, [&[Some(5), Some(300), Some(1800)][..], &long, &[None]].concat());
    }

    #[test]
    fn pauses_are_spread_by_a_fifth() {
        let first = |random| next(AttemptOutcome::TimedOut, 1, None, random);

        assert_eq!(first(0), Next::Again(Duration::from_secs(4)));
        let Next::Again(longest) = first(1023) else { panic!("{:?}", first(1023)) };
        assert!(longest > Duration::from_millis(5990) && longest < Duration::from_secs(6));
    }

    #[test]
    fn what_the_endpoint_asks_for_replaces_the_pause_within_bounds() {
        let asked =
            |attempt, seconds| next(AttemptOutcome::Refused, attempt, Some(Duration::from_secs(seconds)), 9);

        assert_eq!(asked(1, 7), Next::Again(Duration::from_secs(7)));
        assert_eq!(asked(2, 0), Next::Again(Duration::from_secs(1)));
        assert_eq!(asked(1, 86_400), Next::Again(Duration::from_hours(1)));
        assert_eq!(asked(10, 7), Next::Failed);
    }

    #[test]
    fn from_the_third_attempt_on_the_endpoint_lengthens_the_pause_only() {
        let hour = Some(Duration::from_hours(1));
        for attempt in 3..10 {
            let unasked = next(AttemptOutcome::Refused, attempt, None, 9);
            assert_eq!(next(AttemptOutcome::Refused, attempt, Some(Duration::from_secs(1)), 9), unasked);
        }
        assert_eq!(next(AttemptOutcome::Refused, 3, hour, 9), Next::Again(Duration::from_hours(1)));
    }

    #[test]
    fn an_excerpt_is_short_whole_characters_without_nul() {
        assert_eq!(excerpt(b""), None);
        assert_eq!(excerpt(b"a\0b"), Some("ab".to_owned()));
        let long = "é".repeat(MAX_EXCERPT);
        assert_eq!(excerpt(&long.as_bytes()[..=MAX_EXCERPT]), Some("é".repeat(MAX_EXCERPT / 2)));
        assert_eq!(excerpt(&long.as_bytes()[1..]).map(|kept| kept.len() <= MAX_EXCERPT), Some(true));
        assert!(excerpt(&[0xff; 4 * MAX_EXCERPT]).is_none_or(|kept| kept.len() <= MAX_EXCERPT));
    }
}
