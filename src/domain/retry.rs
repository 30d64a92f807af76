//! When a failed attempt is tried again.

use std::time::Duration;

use jiff::Timestamp;

/// The pauses after a turn's first, second, … failed attempt; the last one goes on.
const PAUSES: [u64; 4] = [1, 4, 15, 60];
/// A longer wish of the model's is not honoured.
const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait after `failed` attempts (at least one). `asked` is a `Retry-After`; `random`
/// spreads those that failed together, by a fifth either way.
#[must_use]
pub fn pause(failed: i64, asked: Option<Duration>, random: u32) -> Duration {
    let index = usize::try_from(failed.max(1) - 1).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    spread(Duration::from_secs(PAUSES[index]), random).max(asked.unwrap_or_default().min(LONGEST))
}

/// A pause, a fifth longer or shorter at most.
#[must_use]
pub(super) fn spread(usual: Duration, random: u32) -> Duration {
    usual * 4 / 5 + usual * 2 / 5 * (random % 1024) / 1024
}

/// A `Retry-After` in seconds, or as a date, which is measured against the answer's
/// own `Date`, so that our clock does not matter. A date without that is ignored.
#[must_use]
pub fn retry_after(said: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = said.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(said)?.duration_since(http_date(date?)?);
    Some(Duration::try_from(until).unwrap_or(Duration::ZERO))
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_spread() {
        assert_eq!(pause(1, None, 0), Duration::from_millis(800));
        assert!(pause(1, None, 1023) < Duration::from_millis(1200));
        assert_eq!(pause(3, None, 512), Duration::from_secs(15));
        assert_eq!(pause(99, None, 512), Duration::from_mins(1));
    }

    #[test]
    fn a_longer_wish_is_honoured_up_to_a_minute() {
        assert_eq!(pause(1, Some(Duration::from_secs(30)), 0), Duration::from_secs(30));
        assert_eq!(pause(1, Some(Duration::from_hours(24)), 0), Duration::from_mins(1));
        assert_eq!(pause(2, Some(Duration::from_secs(1)), 512), Duration::from_secs(4));
    }
}
