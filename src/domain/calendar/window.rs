//! A window of opening hours within one day in local time: `09:00-12:00`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};

const MINUTES_PER_DAY: i16 = 24 * 60;

/// From one minute of the day (inclusive) to a later one (exclusive); `24:00` is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window {
    start: i16,
    end: i16,
}

impl Window {
    pub(super) fn minutes(self) -> u32 {
        u32::from((self.end - self.start).unsigned_abs())
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The local times at which the window opens and closes on `date`; `24:00` is the next day's midnight.
    pub(super) fn on(self, date: Date) -> (DateTime, DateTime) {
        (minute_of(date, self.start), minute_of(date, self.end))
    }
}

fn minute_of(date: Date, minute: i16) -> DateTime {
    date.to_datetime(Time::midnight()).saturating_add(jiff::SignedDuration::from_mins(minute.into()))
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("\"{text}\" is not a window such as \"09:00-12:00\"");
        let (start, end) = text.split_once('-').ok_or_else(malformed)?;
        let start = parse_minute(start.trim()).ok_or_else(malformed)?;
        let end = parse_minute(end.trim()).ok_or_else(malformed)?;
        if end < start {
            return Err(format!(
                "\"{text}\" ends before it starts; a window past midnight is written as two, one until 24:00 \
                 and one from 00:00 on the next day"
            ));
        }
        if end == start {
            return Err(format!("\"{text}\" is empty"));
        }
        Ok(Self { start, end })
    }
}

/// `HH:MM`, two digits each, up to `24:00`.
fn parse_minute(text: &str) -> Option<i16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| -> Option<i16> {
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= MINUTES_PER_DAY).then_some(minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start, self.end);
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_round_trip_through_text() {
        for text in ["09:00-12:00", "00:00-24:00", "23:59-24:00"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        assert_eq!("09:00 - 12:30".parse::<Window>().unwrap().minutes(), 210);
    }

    #[test]
    fn malformed_windows_are_refused() {
        for text in
            ["", "09:00", "9:00-12:00", "09:60-12:00", "09:00-24:01", "+9:00-12:00", "09:00-12:00:00", "a-b"]
        {
            let error = text.parse::<Window>().unwrap_err();
            assert!(error.contains("is not a window"), "{text}: {error}");
        }
        assert!("22:00-02:00".parse::<Window>().unwrap_err().contains("until 24:00"));
        assert!("09:00-09:00".parse::<Window>().unwrap_err().contains("is empty"));
    }
}
