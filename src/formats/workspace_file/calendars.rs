//! The calendars of a file.

use url::Url;

use super::check::check_text;
use super::document::{Document, WorkspaceFileError};
use super::raw::CalendarIn;
use super::{FileCaldav, FileCalendar};
use crate::domain::calendar::{CalendarRulesIn, DEFAULT_HORIZON_DAYS, DEFAULT_SLOT_MINUTES, RulesError};

const MAX_URL: usize = 2048;
const MAX_USERNAME: usize = 255;

pub(super) fn check(
    document: &Document<'_>,
    index: usize,
    calendar: CalendarIn,
) -> Result<FileCalendar, WorkspaceFileError> {
    let rules = CalendarRulesIn {
        time_zone: calendar.time_zone,
        slot_minutes: calendar.slot_minutes.unwrap_or(DEFAULT_SLOT_MINUTES),
        buffer_minutes: calendar.buffer_minutes.unwrap_or(0),
        minimum_notice_minutes: calendar.minimum_notice_minutes.unwrap_or(0),
        horizon_days: calendar.horizon_days.unwrap_or(DEFAULT_HORIZON_DAYS),
        hours: calendar.hours,
        holidays: calendar.holidays,
    };
    let rules = rules.try_into().map_err(|error: RulesError| {
        document.error(&format!("calendars[{index}].{}", error.field), error.problem)
    })?;
    let caldav = calendar.caldav.map(|caldav| check_caldav(document, index, caldav)).transpose()?;
    Ok(FileCalendar { slug: calendar.slug, rules, caldav })
}

fn check_caldav(
    document: &Document<'_>,
    index: usize,
    mut raw: FileCaldav,
) -> Result<FileCaldav, WorkspaceFileError> {
    let path = |key: &str| format!("calendars[{index}].caldav.{key}");
    check_text(document, &path("url"), &raw.url, MAX_URL)?;
    let error = |problem: &str| document.error(&path("url"), problem);
    let url = Url::parse(&raw.url).map_err(|_| error("it cannot be read as a URL"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(error("the address of a calendar has neither ? nor #"));
    }
    match (&raw.username, &raw.password) {
        (Some(username), _) => {
            check_text(document, &path("username"), username, MAX_USERNAME)?;
            if username.contains(|c: char| c == ':' || c.is_control()) {
                return Err(document.error(&path("username"), "it cannot hold a colon or control characters"));
            }
        }
        (None, Some(_)) => return Err(document.error(&path("password"), "there is no username for it")),
        (None, None) => {}
    }
    // Its resources lie below it. The rest of the text stays as written, because allow_hosts matches that.
    if !raw.url.ends_with('/') {
        raw.url.push('/');
    }
    Ok(raw)
}
