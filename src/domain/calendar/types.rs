//! A calendar of a workspace, and the parameters for listing its bookings.

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
    pub workspace: WorkspaceId,
    pub id: CalendarId,
    /// Unique in its workspace.
    pub slug: String,
    pub rules: CalendarRules,
    /// The CalDAV server that stores the appointments. `None`: our own database.
    pub caldav: Option<Box<Caldav>>,
    /// The token of its `.ics` address, once someone has requested one.
    pub link: Option<CalendarToken>,
    /// Created by a workspace file, which alone changes it.
    pub from_file: bool,
    pub created_at: Micros,
}

string_enum! {
    /// Where the appointments of a calendar are.
    CalendarSource {
        Here = "here",
        /// On a CalDAV server.
        Caldav = "caldav",
    }
}

string_enum! {
    /// The state of a booking.
    BookingState {
        /// Confirmed, and not cancelled.
        Booked = "booked",
        /// Cancelled; its time can be booked again.
        Cancelled = "cancelled",
    }
}

/// A bound of a range of bookings: an instant, or a whole day in the calendar's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayOrTime {
    /// `2026-11-30`.
    Day(Date),
    /// `2026-11-30T09:00:00Z`.
    Time(Timestamp),
}

impl DayOrTime {
    /// Parses a date (`YYYY-MM-DD`), or an RFC 3339 time with an offset.
    pub fn parse(text: &str) -> Option<Self> {
        let day = || Date::strptime("%Y-%m-%d", text).ok().map(Self::Day);
        text.parse().ok().map(Self::Time).or_else(day)
    }

    /// The start of a range with this bound. A day starts at midnight in the calendar's zone.
    pub fn start(self, rules: &CalendarRules) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Day(day) => midnight(day, rules).unwrap_or(Timestamp::MIN),
        }
    }

    /// The exclusive end of a range with this bound. The whole day is included.
    pub fn end(self, rules: &CalendarRules) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Day(day) => {
                day.tomorrow().ok().and_then(|next| midnight(next, rules)).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

/// The start of a day, or `None` outside the range of timestamps.
fn midnight(day: Date, rules: &CalendarRules) -> Option<Timestamp> {
    rules.zone.to_ambiguous_timestamp(day.to_datetime(Time::midnight())).compatible().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::samples::{at, rules};

    #[test]
    fn a_day_is_bounded_in_the_zone_of_the_calendar() {
        let berlin = rules("Europe/Berlin", &["09:00-12:00"]);
        let day = DayOrTime::parse("2026-10-25").unwrap();

        assert_eq!(day.start(&berlin), at("2026-10-24T22:00Z"));
        assert_eq!(day.end(&berlin), at("2026-10-25T23:00Z"), "it has 25 hours");
        let far = DayOrTime::parse("9999-12-31").unwrap();
        assert_eq!(far.end(&berlin), Timestamp::MAX);
    }

    #[test]
    fn times_need_an_offset_and_other_texts_are_refused() {
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
