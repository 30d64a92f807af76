//! How long a workspace keeps what people have said, and what was done for them.

use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use serde::{Deserialize, Deserializer};

/// The shortest retention: what is younger may still be in use.
const SHORTEST: Duration = Duration::from_hours(24);
/// The longest: a century.
const LONGEST: Duration = Duration::from_hours(24 * 36_525);

/// The retention of a workspace. What has none is kept until it is erased.
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
    /// Journals, the details of calls of models and tools, counted from the message that is answered.
    #[serde(deserialize_with = "duration")]
    pub journals: Option<Duration>,
    /// The title, name, e-mail address and notes of bookings, counted from the end of the appointment.
    #[serde(deserialize_with = "duration")]
    pub bookings: Option<Duration>,
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
}
