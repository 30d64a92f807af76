//! The schedule of retries.

use std::time::Duration;

use jiff::Timestamp;

/// The pauses after the first, second, … failed attempt of a turn; the last one repeats.
const BACKOFF: [u64; 4] = [1, 4, 15, 60];
/// The longest delay that a model may request.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The delay after `attempts` attempts (at least one). `retry_after` is a `Retry-After`; `random` adds jitter of up
/// to a fifth.
#[must_use]
pub fn backoff(attempts: i64, retry_after: Option<Duration>, random: u32) -> Duration {
    let index = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX).min(BACKOFF.len() - 1);
    jitter(Duration::from_secs(BACKOFF[index]), random)
        .max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Adds jitter of at most a fifth to a pause.
#[must_use]
pub(super) fn jitter(base: Duration, random: u32) -> Duration {
    base * 4 / 5 + base * 2 / 5 * (random % 1024) / 1024
}

/// Parses a `Retry-After` in seconds, or as a date relative to the `Date` of the response, so that our clock does not
/// matter. A date without `Date` is ignored.
#[must_use]
pub fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(value)?.duration_since(http_date(date?)?);
    Some(Duration::try_from(until).unwrap_or(Duration::ZERO))
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_and_is_jittered() {
        assert_eq!(backoff(1, None, 0), Duration::from_millis(800));
        assert!(backoff(1, None, 1023) < Duration::from_millis(1200));
        assert_eq!(backoff(3, None, 512), Duration::from_secs(15));
        assert_eq!(backoff(99, None, 512), Duration::from_mins(1));
    }

    #[test]
    fn a_longer_retry_after_is_honoured_up_to_a_minute() {
        assert_eq!(backoff(1, Some(Duration::from_secs(30)), 0), Duration::from_secs(30));
        assert_eq!(backoff(1, Some(Duration::from_hours(24)), 0), Duration::from_mins(1));
        assert_eq!(backoff(2, Some(Duration::from_secs(1)), 512), Duration::from_secs(4));
    }
}
