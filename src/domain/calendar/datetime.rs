//! Formats the labels of slots, and parses the dates and times that a model writes.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// `YYYY-MM-DD HH:MM` in `zone`, with its offset (`2026-10-25 02:00+01:00`) if that local time occurs twice.
pub fn label(at: Timestamp, zone: &TimeZone) -> String {
    let local = at.to_zoned(zone.clone());
    let comes_twice = zone.to_ambiguous_timestamp(local.datetime()).is_ambiguous();
    let format = if comes_twice { "%Y-%m-%d %H:%M%:z" } else { "%Y-%m-%d %H:%M" };
    local.strftime(format).to_string()
}

/// The reason, worded for the model, and the day if the text names one.
#[derive(Debug)]
pub(super) struct DateTimeError {
    pub(super) problem: String,
    pub(super) date: Option<Date>,
}

/// Parses an ISO 8601 date and time, or a slot's label. Without an offset it is local time in `zone`.
///
/// A local time that does not exist or occurs twice is an error, because a guess could book the wrong hour.
pub(super) fn parse_datetime(text: &str, zone: &TimeZone) -> Result<Timestamp, DateTimeError> {
    let unreadable = || DateTimeError {
        problem: format!(
            "\"{text}\" is not a date and time; write it as 2026-11-30T10:00, or as a slot was listed"
        ),
        date: None,
    };
    let pieces = Pieces::parse(text.trim()).map_err(|_| unreadable())?;
    let Some(time) = pieces.time() else {
        let date = pieces.date();
        let problem = format!("\"{text}\" has no time of day; write it as {date}T10:00");
        return Err(DateTimeError { problem, date: Some(date) });
    };
    let local = pieces.date().to_datetime(time);
    if let Some(offset) = pieces.to_numeric_offset() {
        return offset.to_timestamp(local).map_err(|_| unreadable());
    }
    let annotated = pieces.to_time_zone().map_err(|_| unreadable())?;
    resolve_local(local, annotated.as_ref().unwrap_or(zone)).unwrap_or_else(|_| Err(unreadable()))
}

/// The start of an appointment, as a request names it: see `parse_datetime`. The error completes a sentence about the field.
///
/// # Errors
/// The text is no time, or the time does not exist or occurs twice in the calendar's zone.
pub fn parse_start(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    parse_datetime(text, zone).map_err(|error| error.problem)
}

/// The outer error is a time outside the range of timestamps.
fn resolve_local(local: DateTime, zone: &TimeZone) -> Result<Result<Timestamp, DateTimeError>, jiff::Error> {
    let possible = zone.to_ambiguous_timestamp(local);
    let time = local.strftime("%Y-%m-%d %H:%M");
    let problem = match possible.offset() {
        AmbiguousOffset::Unambiguous { offset } => return Ok(Ok(offset.to_timestamp(local)?)),
        AmbiguousOffset::Gap { .. } => {
            format!("{time} does not exist in this time zone: the clocks go forward over it")
        }
        AmbiguousOffset::Fold { before, after } => {
            let first = label(before.to_timestamp(local)?, zone);
            let second = label(after.to_timestamp(local)?, zone);
            format!("{time} comes twice, as the clocks go back: say {first} or {second}")
        }
    };
    Ok(Err(DateTimeError { problem, date: Some(local.date()) }))
}

/// Parses `YYYY-MM-DD` and ignores a time of day after it. The error is worded for the model.
pub(super) fn parse_date(field: &str, text: &str) -> Result<Date, String> {
    Pieces::parse(text.trim())
        .map(|pieces| pieces.date())
        .map_err(|_| format!("{field} \"{text}\" is not a date; write it as 2026-11-30"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn equivalent_notations_parse_to_the_same_time() {
        for text in [
            "2026-11-30T10:00",
            "2026-11-30T10:00:00",
            "2026-11-30 10:00",
            " 2026-11-30T10:00:00.000 ",
            "2026-11-30T09:00Z",
            "2026-11-30t09:00:00z",
            "2026-11-30T04:00:00-05:00",
            "2026-11-30T10:00+01:00[Europe/Berlin]",
            "2026-11-30T18:00[Asia/Tokyo]",
        ] {
            let at = parse_datetime(text, &berlin()).unwrap();
            assert_eq!(at.to_string(), "2026-11-30T09:00:00Z", "{text}");
        }
    }

    #[test]
    fn labels_round_trip_also_in_the_repeated_hour() {
        for text in ["2026-10-25T00:00Z", "2026-10-25T00:30Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"] {
            let at: Timestamp = text.parse::<Timestamp>().unwrap();
            assert_eq!(parse_datetime(&label(at, &berlin()), &berlin()).unwrap(), at);
        }
        let again: Timestamp = "2026-10-25T01:00Z".parse().unwrap();
        assert_eq!(label(again, &berlin()), "2026-10-25 02:00+01:00");
        let after: Timestamp = "2026-10-25T02:00Z".parse().unwrap();
        assert_eq!(label(after, &berlin()), "2026-10-25 03:00");
    }

    #[test]
    fn invalid_and_ambiguous_times_get_a_reason() {
        for (text, expected) in [
            ("tomorrow at ten", "is not a date and time"),
            ("2026-02-30T10:00", "is not a date and time"),
            ("2026-11-30T10:00[Mars/Base]", "is not a date and time"),
            ("2026-11-30", "has no time of day; write it as 2026-11-30T10:00"),
            ("2026-03-29T02:30", "does not exist in this time zone"),
            ("2026-10-25T02:00", "say 2026-10-25 02:00+02:00 or 2026-10-25 02:00+01:00"),
        ] {
            let error = parse_datetime(text, &berlin()).unwrap_err().problem;
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn dates_parse_with_or_without_a_time() {
        for text in ["2026-11-30", "2026-11-30T10:00", "2026-11-30T10:00:00Z"] {
            assert_eq!(parse_date("start_date", text).unwrap().to_string(), "2026-11-30");
        }
        let error = parse_date("end_date", "30.11.2026").unwrap_err();
        assert_eq!(error, "end_date \"30.11.2026\" is not a date; write it as 2026-11-30");
    }
}
