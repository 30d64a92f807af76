//! How long a workspace keeps what people have said, and what was done for them.

use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use serde::{Deserialize, Deserializer};

/// The shortest retention: younger data may still be in use.
const SHORTEST: Duration = Duration::from_hours(24);
/// The longest: a century.
const LONGEST: Duration = Duration::from_hours(24 * 36_525);
const SECONDS_OF_DAY: u64 = 86_400;

/// The retention of a workspace. Data without a period is kept until it is erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table of durations, such as { conversations = \"365d\" }"
)]
pub struct Retention {
    /// Conversations, counted from their last message or their end.
    #[serde(deserialize_with = "duration")]
    pub conversations: Option<Duration>,
    /// Journals, the details of calls of models and tools, counted from the `created_at` of the turn.
    #[serde(deserialize_with = "duration")]
    pub journals: Option<Duration>,
    /// The title, name, e-mail address and notes of bookings, counted from the end of the appointment.
    #[serde(deserialize_with = "duration")]
    pub bookings: Option<Duration>,
}

/// Changes to a retention: `None` leaves a period as it is, `Some(None)` removes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPatch {
    pub conversations: Option<Option<Duration>>,
    pub journals: Option<Option<Duration>>,
    pub bookings: Option<Option<Duration>>,
}

impl Retention {
    /// The retention after a change.
    #[must_use]
    pub fn patched(self, patch: RetentionPatch) -> Self {
        Self {
            conversations: patch.conversations.unwrap_or(self.conversations),
            journals: patch.journals.unwrap_or(self.journals),
            bookings: patch.bookings.unwrap_or(self.bookings),
        }
    }

    /// Its periods as a workspace file has them, by their names.
    #[must_use]
    pub fn texts(self) -> [(&'static str, Option<String>); 3] {
        let Self { conversations, journals, bookings } = self;
        [("conversations", conversations), ("journals", journals), ("bookings", bookings)]
            .map(|(name, period)| (name, period.map(format_duration)))
    }
}

/// A number of days from `1d` to `36525d`.
#[must_use]
pub fn parse_days(text: &str) -> Option<Duration> {
    let digits =
        text.strip_suffix('d').filter(|digits| digits.starts_with(|c: char| ('1'..='9').contains(&c)))?;
    let days: u32 = digits.parse().ok()?;
    let duration = Duration::from_secs(u64::from(days) * SECONDS_OF_DAY);
    Some(duration).filter(|duration| *duration <= LONGEST)
}

/// A duration in its largest whole unit, such as `365d` or `36h`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(SECONDS_OF_DAY, 'd'), (3600, 'h'), (60, 'm')];
    let largest = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = largest.unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}

/// A duration such as `365d` or `24h`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = parse_duration(&text).filter(|duration| (SHORTEST..=LONGEST).contains(duration));
    duration.map(Some).ok_or_else(|| {
        serde::de::Error::custom("expected a duration such as `365d` or `48h`, from `1d` to `36525d`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Retention, String> {
        toml::from_str(toml).map_err(|error| error.to_string())
    }

    #[test]
    fn each_key_is_a_duration_of_a_day_or_more() {
        let read_back = read("conversations = \"365d\"\nbookings = \"24h\"").unwrap();

        let days = |days: u64| Some(Duration::from_hours(24 * days));
        assert_eq!(
            read_back,
            Retention { conversations: days(365), bookings: days(1), ..Retention::default() }
        );
        for wrong in
            ["bookings = \"1h\"", "bookings = \"\"", "bookings = 30", "bookings = \"40000d\"", "x = \"1d\""]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whole_days_are_read_and_every_duration_is_shown() {
        let days = |days: u64| Some(Duration::from_hours(24 * days));
        assert_eq!((parse_days("1d"), parse_days("36525d")), (days(1), days(36_525)));
        for wrong in ["", "d", "0d", "01d", "+1d", "36526d", "48h", "1d 1d", "99999999999d"] {
            assert_eq!(parse_days(wrong), None, "{wrong}");
        }
        for text in ["365d", "36h", "2161m", "90061s"] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_change_keeps_the_periods_that_it_does_not_name() {
        let day = Some(Duration::from_hours(24));
        let old = Retention { conversations: day, journals: day, bookings: None };

        let new = old.patched(RetentionPatch {
            journals: Some(None),
            bookings: Some(day),
            ..RetentionPatch::default()
        });

        assert_eq!(new, Retention { conversations: day, journals: None, bookings: day });
    }
}
