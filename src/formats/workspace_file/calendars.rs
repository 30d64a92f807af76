//! The calendars of a file.

use super::document::{Entry, WorkspaceFileError};
use super::{EnvName, FileCalendar};
use crate::domain::calendar::{Caldav, CalendarRules, CalendarRulesIn};

pub(super) fn read(mut entry: Entry<'_>) -> Result<FileCalendar, WorkspaceFileError> {
    let slug = entry.require("slug")?;
    let mut caldav: Option<Box<Caldav<EnvName>>> = entry.take("caldav")?;
    let rules: CalendarRulesIn = entry.deserialize()?;
    let rules = CalendarRules::try_from(rules).map_err(|error| entry.invalid(&error))?;
    if let Some(caldav) = &mut caldav {
        caldav.check().map_err(|error| entry.invalid(&error.within("caldav")))?;
    }
    Ok(FileCalendar { slug, rules, caldav })
}
