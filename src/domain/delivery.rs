//! Deliveries of events to webhook endpoints: the meaning of responses, and the schedule of retries.

use std::time::Duration;

use super::chat::clean_text;
use super::clock::Micros;
use super::ids::{DeliveryId, EndpointId, EventId, WorkspaceId};
use super::retry::jitter;
use super::string_enum::string_enum;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// The pauses after the first, second, … failed attempt of a round, in seconds; the delivery fails after the last.
const RETRY_SCHEDULE: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// The range of a requested delay.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// From this attempt of a round on, an endpoint may only request a longer pause: shorter ones would use up the round.
const SHORTENABLE_ATTEMPTS: i64 = 2;

/// The ordering window: how long a delivery waits for an earlier one of its conversation that is being retried,
/// counted from the earlier event.
pub const ORDERING_WINDOW: Duration = Duration::from_secs(30);

/// Bytes of a response body that are stored.
pub const MAX_EXCERPT: usize = 2 * 1024;

string_enum! {
    /// The state of a delivery.
    DeliveryState {
        /// May be claimed, from `not_before` on.
        Queued = "queued",
        /// Owned by a process.
        Running = "running",
        /// The endpoint responded with a 2xx.
        Delivered = "delivered",
        /// Every attempt of the schedule failed.
        Failed = "failed",
        /// Cancelled: its endpoint, conversation or event is gone.
        Closed = "closed",
    }
}

string_enum! {
    /// The outcome of an attempt.
    AttemptOutcome {
        /// A 2xx.
        Delivered = "delivered",
        /// A 3xx, which is never followed.
        Redirected = "redirected",
        /// A 410: the endpoint wants no more events.
        Gone = "gone",
        /// Another status.
        Refused = "refused",
        /// A timeout.
        TimedOut = "timed_out",
        /// The name does not resolve, the connection is refused, or TLS failed.
        Unreachable = "unreachable",
        /// The connection broke before a response.
        Broken = "broken",
        /// Not sent: the URL is refused.
        Blocked = "blocked",
        /// Not sent: the endpoint's secret cannot be opened.
        Unsigned = "unsigned",
    }
}

impl AttemptOutcome {
    /// The outcome of a response with this status.
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

/// The key of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    pub workspace: WorkspaceId,
    pub endpoint: EndpointId,
    /// The cursor of its event.
    pub cursor: i64,
}

/// A delivery that a process owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedDelivery {
    pub key: DeliveryKey,
    pub id: DeliveryId,
    /// Rises by one with every claim, takeover, hand-back and end of an attempt.
    pub fence: i64,
    /// The number of attempts.
    pub attempts: i64,
    /// Of these, the attempts of earlier rounds; a resend starts a new round.
    pub attempts_before: i64,
    /// Whether it was resent by request; its header says so.
    pub replay: bool,
}

/// An event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPayload {
    pub workspace: WorkspaceId,
    pub cursor: i64,
    pub id: EventId,
    /// The same bytes at every attempt.
    pub body: String,
    /// Its conversation was deleted: it must not be sent.
    pub is_withheld: bool,
}

/// A finished attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub started_at: Micros,
    pub finished_at: Micros,
    pub outcome: AttemptOutcome,
    pub status: Option<u16>,
    /// The beginning of the response body, at most [`MAX_EXCERPT`] bytes.
    pub excerpt: Option<String>,
}

/// The next state of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Delivered,
    /// Retried after this pause.
    Retry(Duration),
    Failed,
}

/// The disposition after the `attempt`th attempt of a round (from 1). `retry_after` is a `Retry-After`, which
/// replaces the pause, within bounds, and from the third attempt on only lengthens it; `random` spreads deliveries
/// that failed together.
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

/// The release of a delivery by its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeWrite {
    pub key: DeliveryKey,
    /// As it was claimed; a process that was fenced off changes nothing.
    pub fence: i64,
    pub outcome: DeliveryOutcome,
}

/// The result of the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    Attempted(Attempt, Disposition),
    /// Back to the queue, with no attempt counted.
    HandedBack,
    /// There is nothing to send any more.
    Closed,
}

/// The stored beginning of a response body.
#[must_use]
pub fn excerpt(body: &[u8]) -> Option<String> {
    let prefix = &body[..body.len().min(MAX_EXCERPT)];
    let text = String::from_utf8_lossy(prefix);
    // A split character is dropped, and its replacement could exceed the limit.
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
