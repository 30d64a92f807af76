//! Usage: what a workspace has used, summed up by time, assistant, model and key.

use std::ops::AddAssign;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::clock::Micros;
use super::ids::{AssistantId, KeyId, WorkspaceId};
use super::money::Money;
use super::string_enum::string_enum;

/// Usage is counted by quarters of an hour: every time zone's days begin with one.
const QUARTER: i64 = 15 * 60 * 1_000_000;

/// The most figures that one query of usage returns, and the most buckets that it has.
pub const MAX_ROWS: usize = 10_000;

string_enum! {
    /// The length of the buckets of a query.
    Bucket {
        Hour = "hour",
        Day = "day",
        Month = "month",
        /// One bucket for the whole period.
        None = "none",
    }
}

string_enum! {
    /// What the figures of a bucket are divided by.
    Group {
        Workspace = "workspace",
        Assistant = "assistant",
        Model = "model",
        Key = "key",
    }
}

/// What has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// All messages that were stored, replies included.
    pub messages: i64,
    pub turns_completed: i64,
    pub turns_failed: i64,
    pub turns_discarded: i64,
    /// The answers of models in the journals of turns that have ended.
    pub model_calls: i64,
    pub input_tokens: i64,
    pub cached_tokens: i64,
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    pub tool_calls: i64,
    /// Positive.
    pub charged: Money,
    pub refunded: Money,
    /// Top-ups less deductions.
    pub credited: Money,
}

impl Figures {
    /// What was charged and not refunded.
    #[must_use]
    pub fn net(&self) -> Money {
        Money(self.charged.0.saturating_sub(self.refunded.0))
    }
}

impl AddAssign for Figures {
    /// Saturates.
    fn add_assign(&mut self, other: Self) {
        let sums = [
            (&mut self.messages, other.messages),
            (&mut self.turns_completed, other.turns_completed),
            (&mut self.turns_failed, other.turns_failed),
            (&mut self.turns_discarded, other.turns_discarded),
            (&mut self.model_calls, other.model_calls),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.tool_calls, other.tool_calls),
            (&mut self.charged.0, other.charged.0),
            (&mut self.refunded.0, other.refunded.0),
            (&mut self.credited.0, other.credited.0),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

/// The bucket and group of figures. An id is nil and a text empty if the figures do not belong to such an object: only model calls, tokens
/// and tool calls belong to a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageKey {
    /// The start of the time that they cover.
    pub start: Micros,
    pub workspace: WorkspaceId,
    pub assistant: AssistantId,
    pub key: KeyId,
    pub connection: String,
    pub model: String,
}

/// Figures, and to whom they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    pub key: UsageKey,
    pub figures: Figures,
}

/// The start of the quarter of an hour in which something was used.
#[must_use]
pub fn quarter(at: Micros) -> Micros {
    Micros(at.0.div_euclid(QUARTER) * QUARTER)
}

/// A time span, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub start: Micros,
    pub end: Micros,
}

/// Why a period cannot be queried. `Display` is a whole sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error(
        "Field '{0}' must be a date such as 2026-03-15, or a time on a quarter of an hour such as 2026-03-15T14:15:00Z."
    )]
    Malformed(&'static str),
    #[error("Field 'time_zone' must be the name of a time zone, such as Europe/Berlin.")]
    UnknownTimeZone,
    #[error("Field 'end' must be later than 'start'.")]
    Empty,
    #[error(
        "The period has more than {MAX_ROWS} buckets. Query a shorter period, or larger buckets with 'bucket'."
    )]
    TooManyBuckets,
}

/// The time that a text names: the start of a day in a time zone, or a time on a quarter of an hour.
///
/// # Errors
/// [`PeriodError::Malformed`] with the name of the field.
fn parse_bound(field: &'static str, text: &str, zone: &TimeZone) -> Result<Micros, PeriodError> {
    let at = match text.parse::<Date>() {
        // `Date` also reads the date of a longer text.
        Ok(date) if text.len() <= 10 => zone.to_timestamp(date.to_datetime(Time::midnight())).ok(),
        Ok(_) | Err(_) => text.parse::<Timestamp>().ok(),
    };
    let at = at.map(Micros::from).filter(|at| quarter(*at) == *at);
    at.ok_or(PeriodError::Malformed(field))
}

impl PeriodError {
    /// The field that is invalid.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Malformed(field) => field,
            Self::UnknownTimeZone => "time_zone",
            Self::Empty => "end",
            Self::TooManyBuckets => "bucket",
        }
    }
}

/// The buckets of a period whose bounds and time zone (UTC by default) are texts. It ends now by default.
///
/// # Errors
/// The first field that is invalid.
pub fn parse_buckets(
    start: &str,
    end: Option<&str>,
    zone: Option<&str>,
    bucket: Bucket,
    now: Micros,
) -> Result<Vec<Period>, PeriodError> {
    let zone = zone.map_or(Ok(TimeZone::UTC), TimeZone::get).map_err(|_| PeriodError::UnknownTimeZone)?;
    let start = parse_bound("start", start, &zone)?;
    let end = end.map(|end| parse_bound("end", end, &zone)).transpose()?;
    Period::new(start, end, now)?.buckets(bucket, &zone)
}

impl Period {
    /// Up to the end of the current quarter of an hour, unless another end is given.
    ///
    /// # Errors
    /// [`PeriodError::Empty`] if it does not end after its start.
    pub fn new(start: Micros, end: Option<Micros>, now: Micros) -> Result<Self, PeriodError> {
        let end = end.unwrap_or_else(|| Micros(quarter(now).0.saturating_add(QUARTER)));
        if end > start { Ok(Self { start, end }) } else { Err(PeriodError::Empty) }
    }

    /// Divides it at the hours, days or months of a time zone. The first and the last bucket may be shorter than the others.
    ///
    /// # Errors
    /// [`PeriodError::TooManyBuckets`] if there are more than [`MAX_ROWS`].
    pub fn buckets(self, bucket: Bucket, zone: &TimeZone) -> Result<Vec<Self>, PeriodError> {
        let mut buckets = Vec::new();
        let mut start = self.start;
        while start < self.end {
            if buckets.len() == MAX_ROWS {
                return Err(PeriodError::TooManyBuckets);
            }
            // At the end of the calendar there is no next bucket.
            let next = next_bucket(start, bucket, zone).filter(|next| *next > start && *next < self.end);
            let end = next.unwrap_or(self.end);
            buckets.push(Self { start, end });
            start = end;
        }
        Ok(buckets)
    }
}

fn next_bucket(at: Micros, bucket: Bucket, zone: &TimeZone) -> Option<Micros> {
    let zoned = at.timestamp().to_zoned(zone.clone());
    let next_date = match bucket {
        Bucket::None => return None,
        Bucket::Hour => {
            let hour = 60 * 60 * 1_000_000;
            let offset = i64::from(zoned.offset().seconds()) * 1_000_000;
            let local = at.0.checked_add(offset)?.div_euclid(hour).checked_add(1)?.checked_mul(hour)?;
            return Some(Micros(local.checked_sub(offset)?));
        }
        Bucket::Day => zoned.date().tomorrow().ok()?,
        Bucket::Month => zoned.date().first_of_month().checked_add(1.month()).ok()?,
    };
    zone.to_timestamp(next_date.to_datetime(Time::midnight())).ok().map(Micros::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Micros {
        parse_bound("start", text, &TimeZone::UTC).unwrap()
    }

    fn starts(period: (&str, &str), bucket: Bucket, zone: &TimeZone) -> Vec<String> {
        let bound = |text| parse_bound("start", text, zone).unwrap();
        let period = Period::new(bound(period.0), Some(bound(period.1)), Micros(0)).unwrap();
        let buckets = period.buckets(bucket, zone).unwrap();
        assert_eq!(buckets.first().unwrap().start, period.start);
        assert_eq!(buckets.last().unwrap().end, period.end);
        assert!(buckets.windows(2).all(|pair| pair[0].end == pair[1].start), "{buckets:?}");
        buckets.iter().map(|bucket| bucket.start.to_string()).collect()
    }

    #[test]
    fn days_begin_at_midnight_of_the_time_zone() {
        // Summer time begins on 29 March.
        assert_eq!(
            starts(("2026-03-28", "2026-03-31"), Bucket::Day, &zone("Europe/Berlin")),
            ["2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]
        );
        assert_eq!(
            starts(("2026-03-28", "2026-03-30"), Bucket::Day, &zone("Asia/Kathmandu")),
            ["2026-03-27T18:15:00Z", "2026-03-28T18:15:00Z"]
        );
    }

    #[test]
    fn the_first_and_last_bucket_may_be_shorter() {
        let utc = &TimeZone::UTC;
        assert_eq!(
            starts(("2026-01-31T10:15:00Z", "2026-03-02T00:00:00Z"), Bucket::Month, utc),
            ["2026-01-31T10:15:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]
        );
        assert_eq!(
            starts(("2026-01-31T10:15:00Z", "2026-01-31T12:00:00Z"), Bucket::Hour, utc),
            ["2026-01-31T10:15:00Z", "2026-01-31T11:00:00Z"]
        );
        assert_eq!(
            starts(("2026-01-31T10:00:00Z", "2026-01-31T11:30:00Z"), Bucket::Hour, &zone("Asia/Kolkata")),
            ["2026-01-31T10:00:00Z", "2026-01-31T10:30:00Z"]
        );
        assert_eq!(starts(("2026-01-01", "2027-01-01"), Bucket::None, utc), ["2026-01-01T00:00:00Z"]);
    }

    #[test]
    fn a_period_is_bounded_and_not_empty() {
        let utc = &TimeZone::UTC;
        let start = at("2026-01-01");

        let years = Period::new(start, Some(at("2036-01-01")), start).unwrap();
        assert_eq!(years.buckets(Bucket::Hour, utc), Err(PeriodError::TooManyBuckets));
        assert_eq!(years.buckets(Bucket::Day, utc).unwrap().len(), 3652);
        assert_eq!(Period::new(start, Some(start), start), Err(PeriodError::Empty));
        let today = Period::new(start, None, at("2026-01-01T10:00:00Z")).unwrap();
        assert_eq!(today.end, at("2026-01-01T10:15:00Z"));
    }

    #[test]
    fn a_bound_is_a_date_or_a_quarter_of_an_hour() {
        let berlin = zone("Europe/Berlin");
        assert_eq!(parse_bound("start", "2026-07-01", &berlin), Ok(at("2026-06-30T22:00:00Z")));
        assert_eq!(
            parse_bound("start", "2026-07-01T00:00:00+02:00", &berlin),
            Ok(at("2026-06-30T22:00:00Z"))
        );
        for text in ["", "x", "2026-07-01T00:00:01Z", "2026-07-01T00:00:00", "2026-13-01", "2026-07"] {
            assert_eq!(parse_bound("end", text, &berlin), Err(PeriodError::Malformed("end")), "{text}");
        }
    }

    #[test]
    fn figures_add_up() {
        let mut sum = Figures { messages: 1, charged: Money(5), ..Figures::default() };
        sum += Figures { messages: 2, refunded: Money(7), tool_calls: i64::MAX, ..Figures::default() };
        sum += Figures { tool_calls: 1, ..Figures::default() };
        assert_eq!((sum.messages, sum.net(), sum.tool_calls), (3, Money(-2), i64::MAX));
    }
}
