//! Deliveries: an event on its way to a webhook endpoint. What an endpoint's answer
//! means, and when a delivery that failed is tried again.

use std::time::Duration;

use super::chat::clean_text;
use super::clock::Micros;
use super::ids::{DeliveryId, EndpointId, EventId, WorkspaceId};
use super::retry::jitter;
use super::string_enum::string_enum;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// The pauses after a round's first, second, … failed attempt, in seconds; after the last one there is none.
const RETRY_SCHEDULE: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// What an endpoint may ask for instead.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// After so many attempts of a round it may only ask for a longer pause: short ones would use up the round.
const SHORTENABLE_ATTEMPTS: i64 = 2;

/// How long a delivery waits for an earlier one of its conversation at its endpoint that is to be tried
/// again, counted from that one's event.
pub const ORDERING_WINDOW: Duration = Duration::from_secs(30);

/// How much of an answer's body is kept, in bytes.
pub const MAX_EXCERPT: usize = 2 * 1024;

string_enum! {
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

string_enum! {
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
    pub fn from_status(status: u16) -> Self {
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
pub struct ClaimedDelivery {
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
pub struct EventPayload {
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
pub enum Disposition {
    Delivered,
    /// Tried again after this pause.
    Retry(Duration),
    Failed,
}

/// What follows from the `attempt`th attempt of a round (from 1). `retry_after` is a `Retry-After`, which
/// replaces the pause, within bounds, and from the third attempt on only lengthens it; `random` spreads those that failed together.
#[must_use]
pub fn disposition(
    outcome: AttemptOutcome,
    attempt: i64,
    retry_after: Option<Duration>,
    random: u32,
) -> Disposition {
    if outcome == AttemptOutcome::Delivered {
        return Disposition::Delivered;
    }
    let delay = usize::try_from(attempt.max(1) - 1).ok().and_then(|index| RETRY_SCHEDULE.get(index));
    let Some(delay) = delay.map(|delay| jitter(Duration::from_secs(*delay), random)) else {
        return Disposition::Failed;
    };
    match retry_after.map(|retry_after| retry_after.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)) {
        Some(retry_after) if attempt <= SHORTENABLE_ATTEMPTS => Disposition::Retry(retry_after),
        Some(retry_after) => Disposition::Retry(retry_after.max(delay)),
        None => Disposition::Retry(delay),
    }
}

/// The end of a process's hold on a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeWrite {
    pub key: DeliveryKey,
    /// As it was claimed: who was overtaken changes nothing.
    pub fence: i64,
    pub outcome: DeliveryOutcome,
}

/// How a hold on a delivery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    Attempted(Attempt, Disposition),
    /// For whoever claims it, with no attempt counted.
    HandedBack,
    /// There is nothing to send any more.
    Closed,
}

/// How an answer's body begins, as it is kept.
#[must_use]
pub fn excerpt(body: &[u8]) -> Option<String> {
    let prefix = &body[..body.len().min(MAX_EXCERPT)];
    let text = String::from_utf8_lossy(prefix);
    // A character that was cut in two is not half kept, and what replaces it takes more bytes.
    let mut end = text.len().min(MAX_EXCERPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let excerpt = clean_text(text[..end].trim_end_matches('\u{fffd}').to_owned());
    (!excerpt.is_empty()).then_some(excerpt)
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
            assert_eq!(AttemptOutcome::from_status(status), outcome, "{status}");
        }
        assert_eq!(disposition(AttemptOutcome::Delivered, 10, None, 0), Disposition::Delivered);
    }

    #[test]
    fn delays_follow_the_schedule_and_end_after_the_tenth_attempt() {
        let seconds = |attempt| match disposition(AttemptOutcome::Refused, attempt, None, 512) {
            Disposition::Retry(delay) => Some(delay.as_secs()),
            Disposition::Delivered | Disposition::Failed => None,
        };

        let pauses: Vec<_> = (1..=10).map(seconds).collect();

        let hours = |hours: u64| Some(hours * 3600);
        let long = [2, 5, 10, 14, 20, 24].map(hours);
        assert_eq!(pauses, [&[Some(5), Some(300), Some(1800)][..], &long, &[None]].concat());
    }

    #[test]
    fn delays_are_jittered_by_a_fifth() {
        let first = |random| disposition(AttemptOutcome::TimedOut, 1, None, random);

        assert_eq!(first(0), Disposition::Retry(Duration::from_secs(4)));
        let Disposition::Retry(longest) = first(1023) else { panic!("{:?}", first(1023)) };
        assert!(longest > Duration::from_millis(5990) && longest < Duration::from_secs(6));
    }

    #[test]
    fn a_retry_after_replaces_the_delay_within_bounds() {
        let retry_after = |attempt, seconds| {
            disposition(AttemptOutcome::Refused, attempt, Some(Duration::from_secs(seconds)), 9)
        };

        assert_eq!(retry_after(1, 7), Disposition::Retry(Duration::from_secs(7)));
        assert_eq!(retry_after(2, 0), Disposition::Retry(Duration::from_secs(1)));
        assert_eq!(retry_after(1, 86_400), Disposition::Retry(Duration::from_hours(1)));
        assert_eq!(retry_after(10, 7), Disposition::Failed);
    }

    #[test]
    fn from_the_third_attempt_on_a_retry_after_only_lengthens_the_delay() {
        let hour = Some(Duration::from_hours(1));
        for attempt in 3..10 {
            let without_retry_after = disposition(AttemptOutcome::Refused, attempt, None, 9);
            assert_eq!(
                disposition(AttemptOutcome::Refused, attempt, Some(Duration::from_secs(1)), 9),
                without_retry_after
            );
        }
        assert_eq!(
            disposition(AttemptOutcome::Refused, 3, hour, 9),
            Disposition::Retry(Duration::from_hours(1))
        );
    }

    #[test]
    fn an_excerpt_is_short_whole_characters_without_nul() {
        assert_eq!(excerpt(b""), None);
        assert_eq!(excerpt(b"a\0b"), Some("ab".to_owned()));
        let long = "é".repeat(MAX_EXCERPT);
        assert_eq!(excerpt(&long.as_bytes()[..=MAX_EXCERPT]), Some("é".repeat(MAX_EXCERPT / 2)));
        assert_eq!(excerpt(&long.as_bytes()[1..]).map(|excerpt| excerpt.len() <= MAX_EXCERPT), Some(true));
        assert!(excerpt(&[0xff; 4 * MAX_EXCERPT]).is_none_or(|excerpt| excerpt.len() <= MAX_EXCERPT));
    }
}
