//! A calendar as its workspace keeps it, and the words in which its bookings are asked for.

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::rules::CalendarRules;
use super::settings::Caldav;
use crate::domain::clock::Micros;
use crate::domain::ids::{CalendarId, CalendarToken, WorkspaceId};
use crate::domain::string_enum::string_enum;

/// A calendar that is in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// By which the API knows it.
    pub id: CalendarId,
    /// By which the workspace file knows it.
    pub slug: String,
    /// When it can be booked.
    pub rules: CalendarRules,
    /// The CalDAV server that stores it; none: the store does.
    pub caldav: Option<Box<Caldav>>,
    /// The token of its `.ics` address, once someone has requested one.
    pub link: Option<CalendarToken>,
    /// When it was made.
    pub created_at: Micros,
}

string_enum! {
    /// What has become of a booking.
    BookingState {
        /// It stands.
        Booked = "booked",
        /// Its time may be booked again.
        Cancelled = "cancelled",
    }
}

/// A bound of a range of bookings: a moment, or a whole day of the calendar's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayOrTime {
    /// `2026-11-30`.
    Day(Date),
    /// `2026-11-30T09:00:00Z`.
    Time(Timestamp),
}

impl DayOrTime {
    /// Reads a date (`YYYY-MM-DD`), or a time of RFC 3339 with its offset.
    pub fn parse(text: &str) -> Option<Self> {
        let day = || Date::strptime("%Y-%m-%d", text).ok().map(Self::Day);
        text.parse().ok().map(Self::Time).or_else(day)
    }

    /// The moment at which a range begins that is bounded so: a day's first one.
    pub fn start(self, rules: &CalendarRules) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Day(day) => midnight(day, rules).unwrap_or(Timestamp::MIN),
        }
    }

    /// The first moment after a range that is bounded so: a day is in it to its end.
    pub fn end(self, rules: &CalendarRules) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Day(day) => {
                day.tomorrow().ok().and_then(|next| midnight(next, rules)).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

/// The first moment of a day; none beyond what timestamps hold.
fn midnight(day: Date, rules: &CalendarRules) -> Option<Timestamp> {
    rules.zone.to_ambiguous_timestamp(day.to_datetime(Time::midnight())).compatible().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::samples::{at, rules};

    #[test]
    fn a_day_is_the_calendars_own_from_its_first_moment_to_its_last() {
        let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
        let day = DayOrTime::parse("2026-10-25").unwrap();

        assert_eq!(day.start(&berlin), at("2026-10-24T22:00Z"));
        assert_eq!(day.end(&berlin), at("2026-10-25T23:00Z"), "it has 25 hours");
        let far = DayOrTime::parse("9999-12-31").unwrap();
        assert_eq!(far.end(&berlin), Timestamp::MAX);
    }

    #[test]
    fn a_time_is_itself_and_what_is_neither_is_refused() {
        let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
        let time = DayOrTime::parse("2026-11-30T10:00:00+01:00").unwrap();

        assert_eq!(
            (time.start(&berlin), time.end(&berlin)),
            (at("2026-11-30T09:00Z"), at("2026-11-30T09:00Z"))
        );
        for text in ["", "today", "2026-11-30T10:00", "30.11.2026", "2026-02-30", "2026-11-30 10:00"] {
            assert_eq!(DayOrTime::parse(text), None, "{text}");
        }
    }
}
